//! SQLite in this process, in WAL mode with `synchronous=FULL`: a window is one transaction.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Contender, PACKET_BYTES};

pub(super) struct Sqlite(Connection);

impl Sqlite {
    pub(super) fn create(dir: &Path) -> Result<Sqlite, Box<dyn Error>> {
        let connection = Connection::open(dir.join("queue.db"))?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("SQLite stays in journal mode {mode}").into());
        }
        connection.execute_batch(
            "PRAGMA synchronous = FULL; CREATE TABLE packets (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
        )?;
        Ok(Sqlite(connection))
    }
}

impl Contender for Sqlite {
    fn carry(&mut self, window: usize, time: Duration) -> Result<u64, Box<dyn Error>> {
        let packet = vec![7_u8; PACKET_BYTES];
        let began = Instant::now();
        let mut committed = 0;
        while began.elapsed() < time {
            let transaction = self.0.transaction()?;
            {
                let mut insert = transaction.prepare_cached("INSERT INTO packets (payload) VALUES (?1)")?;
                for _ in 0..window {
                    insert.execute([&packet])?;
                }
            }
            transaction.commit()?;
            committed += window as u64;
        }
        Ok(committed)
    }
}
