//! The ledger: what was offered, what should have come of it, and what did, a row for each event at each sink it can reach.
//!
//! It is kept from the harness's own records alone: the load's answers, the reference evaluation, and what the endpoints
//! hold. The system's word counts only where it declares an end of its own: a dead letter, a named drop, a reported loss.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_engine::node::Class;
use seaworthy_engine::packet::Seq;
use seaworthy_reports::run::{Answer, Fate};

use crate::history::{Buried, History, OfferRecord};
use crate::reference::{Copy, EventKey, Expect, Expected};

/// Bytes that are shown before and behind the one where a content parts from what was expected.
const BEFORE_PARTING: usize = 24;
const BEHIND_PARTING: usize = 40;

/// Ends that the system declares by itself, by packet id. Dead letters are in the history: they are read from its journals.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Dropped by a named rule, and by which.
    pub shed: BTreeMap<String, String>,
    /// Dropped as too old.
    pub expired: BTreeSet<String>,
    /// Reported lost, with the exact range, where a fault of the plan destroyed it.
    pub lost_reported: BTreeSet<String>,
    /// Lost within the declared window of `interval` or `os`.
    pub lost_window: BTreeSet<String>,
    /// Entries that were accepted and are gone with a power cut: nothing is due of them.
    pub gone: BTreeSet<EventKey>,
    /// Endpoints that take repeats out by themselves.
    pub idempotent_sinks: BTreeSet<String>,
}

/// All sinks of one seed.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// What the border answered, one for each offer of the history.
    pub answers: Vec<Answer>,
    /// One account a sink, in order of [`Expected::sinks`].
    pub sinks: Vec<Account>,
    /// [`Declared::shed`].
    pub shed: BTreeMap<String, String>,
    /// [`Expected::letters`].
    pub letters: BTreeMap<(String, Arc<str>), Vec<Copy>>,
}

/// One sink's account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The sink, as `host.node`.
    pub sink: Arc<str>,
    /// One row an event that can reach it, in order of the offers.
    pub rows: Vec<Row>,
    /// Effects that nobody expected.
    pub unexpected: Vec<Unexpected>,
    /// First sightings of expected effects, in order of time.
    pub seen: Vec<Sighting>,
    /// Whether the sink takes repeats out by itself.
    pub idempotent: bool,
}

/// One event at one sink.
#[derive(Clone, Debug)]
pub struct Row {
    /// Index of the offer in the history.
    pub offer: usize,
    /// What became of it.
    pub fate: Fate,
    /// Copies expected.
    pub expected: u32,
    /// Copies seen, repeats included.
    pub copies: u32,
    /// When the last expected copy was first seen, virtual ns; set exactly when the fate is `Visible`.
    pub visible_ns: Option<u64>,
    /// It was expected to become a dead letter.
    pub planted: bool,
    /// The effect that is missing, where one is.
    pub missing: Option<String>,
}

/// An effect that nobody expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// When, virtual ns.
    pub at_ns: u64,
    /// Its name.
    pub packet_id: String,
    /// Why it should not be there.
    pub why: String,
}

/// The first sighting of an expected effect.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When, virtual ns.
    pub at_ns: u64,
    /// Index of the offer that it belongs to.
    pub offer: usize,
    /// Which of that offer's copies at this sink.
    pub copy: usize,
    /// Its name.
    pub packet_id: String,
    /// Its key.
    pub key: Option<String>,
}

/// The harness's own books don't balance; nothing that they say can be trusted (exit 70).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// An event took part, but the reference has not evaluated it, or the other way round.
    #[error("{entry} {seq} ({packet_id}): the load says {answer:?}, the reference {}", if *.evaluated { "evaluated it" } else { "did not evaluate it" })]
    TakingPart {
        /// Its entry.
        entry: String,
        /// Its number.
        seq: Seq,
        /// Its name.
        packet_id: String,
        /// What the border answered.
        answer: Answer,
        /// Whether the reference evaluated it.
        evaluated: bool,
    },
    /// An event is both accepted and rejected, or offered twice.
    #[error("{entry} {seq}: {what}")]
    Offer {
        /// Its entry.
        entry: String,
        /// Its number.
        seq: Seq,
        /// What is wrong.
        what: &'static str,
    },
    /// An effect at an endpoint that no entry reaches.
    #[error("an effect at {0}, which is no sink of the flow")]
    Endpoint(String),
    /// accepted + recovered = visible + absorbed + folded + dead-lettered + shed + expired + unresolved + lost is broken.
    #[error("{sink}: {taken} events taken, but {ended} accounted for")]
    Conservation {
        /// The sink.
        sink: String,
        /// accepted + recovered.
        taken: u64,
        /// The sum of the other side.
        ended: u64,
    },
    /// Effects at a sink are not all matched or unexpected.
    #[error("{sink}: {held} effects held, but {explained} matched or unexpected")]
    Effects {
        /// The sink.
        sink: String,
        /// Effects in the history.
        held: u64,
        /// Copies in rows plus unexpected ones.
        explained: u64,
    },
}

/// The answers of the border, one for each offer. An event that was never answered, yet is seen at an endpoint or in the
/// dead letters under its own name, was taken all the same: `Recovered`.
#[must_use]
pub fn answers(history: &History) -> Vec<Answer> {
    let effects = history.effects.iter().map(|effect| effect.packet_id.as_str());
    let dead = history.dead_letters.iter().map(|letter| letter.packet_id.as_str());
    let seen: BTreeSet<&str> = effects.chain(dead).collect();
    let answer = |offer: &OfferRecord| match offer {
        OfferRecord { accepted_ns: Some(_), .. } => Answer::Accepted,
        OfferRecord { rejected: Some(_), .. } => Answer::Rejected,
        OfferRecord { packet_id, .. } if seen.contains(&**packet_id) => Answer::Recovered,
        _ => Answer::Indeterminate,
    };
    history.offers.iter().map(answer).collect()
}

/// The events that the reference must evaluate: what the system took, and did not lose with a power cut.
#[must_use]
pub fn taking_part(history: &History, declared: &Declared) -> BTreeSet<EventKey> {
    let taken = |answer: &Answer| matches!(answer, Answer::Accepted | Answer::Recovered);
    let offers = history.offers.iter().zip(answers(history)).filter(|(_, answer)| taken(answer));
    let keys = offers.map(|(offer, _)| (offer.entry.clone(), offer.seq));
    keys.filter(|key| !declared.gone.contains(key)).collect()
}

/// A place for an expected effect.
struct Slot {
    row: usize,
    copy: usize,
    content: Bytes,
    key: Option<String>,
    first_ns: Option<u64>,
}

/// Joins offers, expectations and effects.
///
/// # Errors
/// When the harness's own books don't balance.
pub fn join(history: &History, expected: &Expected, declared: &Declared) -> Result<Ledger, LedgerError> {
    let answers = answers(history);
    let mut offers: BTreeMap<EventKey, usize> = BTreeMap::new();
    let mut fates = Vec::with_capacity(history.offers.len());
    for (at, (offer, answer)) in history.offers.iter().zip(&answers).enumerate() {
        let wrong = |what| LedgerError::Offer { entry: offer.entry.to_string(), seq: offer.seq, what };
        let key = (offer.entry.clone(), offer.seq);
        let expects = expected.events.get(&key).map(Vec::as_slice);
        let evaluated = expects.is_some();
        fates.push(expects);
        let taken = matches!(answer, Answer::Accepted | Answer::Recovered);
        if evaluated != (taken && !declared.gone.contains(&key)) {
            let (entry, packet_id) = (offer.entry.to_string(), offer.packet_id.to_string());
            return Err(LedgerError::TakingPart { entry, seq: offer.seq, packet_id, answer: *answer, evaluated });
        }
        if offer.accepted_ns.is_some() && offer.rejected.is_some() {
            return Err(wrong("accepted and rejected"));
        }
        if offers.insert(key, at).is_some() {
            return Err(wrong("two offers of one number"));
        }
    }
    if let Some(effect) =
        history.effects.iter().find(|effect| !expected.sinks.iter().any(|sink| **sink == *effect.endpoint))
    {
        return Err(LedgerError::Endpoint(effect.endpoint.clone()));
    }
    let mut dead: BTreeMap<&str, Vec<&Buried>> = BTreeMap::new();
    history.dead_letters.iter().for_each(|letter| dead.entry(&letter.packet_id).or_default().push(letter));
    let books = Books { history, expected, declared, answers: &answers, offers: &offers, fates, dead };
    let sinks = (0..expected.sinks.len()).map(|sink| books.account(sink)).collect::<Result<_, _>>()?;
    Ok(Ledger { answers, sinks, shed: declared.shed.clone(), letters: expected.letters.clone() })
}

/// Where what a sink holds parts from what was expected, in one line.
fn parted(held: &[u8], due: &[u8]) -> String {
    let same = held.iter().zip(due).take_while(|(held, due)| held == due).count();
    let from = same.saturating_sub(BEFORE_PARTING);
    let shown = |content: &[u8]| {
        let text = String::from_utf8_lossy(&content[from..content.len().min(same + BEHIND_PARTING)]).into_owned();
        text.replace(char::is_control, " ")
    };
    format!(
        "its content is not what was expected: around byte {same} it holds `{}`, expected was `{}`",
        shown(held),
        shown(due)
    )
}

struct Books<'a> {
    history: &'a History,
    expected: &'a Expected,
    declared: &'a Declared,
    answers: &'a [Answer],
    offers: &'a BTreeMap<EventKey, usize>,
    /// What each offer should come to at the sinks that its entry reaches; `None` where it took no part.
    fates: Vec<Option<&'a [Expect]>>,
    dead: BTreeMap<&'a str, Vec<&'a Buried>>,
}

impl Books<'_> {
    /// What offer `at` should come to at `sink`: nothing when it can't reach it, `None` inside when it took no part.
    fn expect(&self, at: usize, sink: usize) -> Option<Option<&Expect>> {
        let offer = &self.history.offers[at];
        let place = self.expected.reach.get(&offer.entry)?.iter().position(|reached| *reached == sink)?;
        Some(self.fates[at].map(|fates| &fates[place]))
    }

    fn account(&self, sink: usize) -> Result<Account, LedgerError> {
        let name = self.expected.sinks[sink].clone();
        let mut rows = Vec::new();
        let mut row_of: BTreeMap<usize, usize> = BTreeMap::new();
        let mut slots: BTreeMap<&str, Vec<Slot>> = BTreeMap::new();
        for at in 0..self.history.offers.len() {
            let Some(expect) = self.expect(at, sink) else { continue };
            row_of.insert(at, rows.len());
            let copies: &[Copy] = if let Some(Expect::Visible(copies)) = expect { copies } else { &[] };
            for (copy, Copy { packet_id, key, content }) in copies.iter().enumerate() {
                let slot = Slot { row: rows.len(), copy, content: content.clone(), key: key.clone(), first_ns: None };
                slots.entry(packet_id).or_default().push(slot);
            }
            rows.push(Row {
                offer: at,
                fate: Fate::NotTaken,
                expected: copies.len() as u32,
                copies: 0,
                visible_ns: None,
                planted: matches!(expect, Some(Expect::DeadLettered { .. })),
                missing: None,
            });
        }
        let mut account = Account {
            idempotent: self.declared.idempotent_sinks.contains(&*name),
            sink: name,
            rows,
            unexpected: vec![],
            seen: vec![],
        };
        self.place_effects(&mut account, &mut slots);
        self.settle_fates(sink, &mut account, &row_of, &slots);
        self.balance(&account)?;
        Ok(account)
    }

    /// Gives each effect to the row that expected it, by name and content; a repeat counts on the row that it repeats.
    fn place_effects(&self, account: &mut Account, slots: &mut BTreeMap<&str, Vec<Slot>>) {
        for effect in self.history.effects.iter().filter(|effect| *effect.endpoint == *account.sink) {
            let named = slots.get_mut(effect.packet_id.as_str()).map(Vec::as_mut_slice).unwrap_or_default();
            let is_same = |slot: &&mut Slot| slot.content == effect.content && slot.key == effect.key;
            let mut same: Vec<&mut Slot> = named.iter_mut().filter(is_same).collect();
            let free = same.iter().position(|slot| slot.first_ns.is_none());
            let Some(slot) = same.get_mut(free.unwrap_or(0)) else {
                let why = match named.first() {
                    None => "nobody expected it here".to_owned(),
                    Some(slot) if slot.content == effect.content => {
                        let key =
                            |key: &Option<String>| key.as_ref().map_or("none".to_owned(), |key| format!("`{key}`"));
                        format!("its key is {}, expected was {}", key(&effect.key), key(&slot.key))
                    }
                    Some(slot) => parted(&effect.content, &slot.content),
                };
                account.unexpected.push(Unexpected { at_ns: effect.at_ns, packet_id: effect.packet_id.clone(), why });
                continue;
            };
            account.rows[slot.row].copies += 1;
            if slot.first_ns.is_none() {
                slot.first_ns = Some(effect.at_ns);
                account.seen.push(Sighting {
                    at_ns: effect.at_ns,
                    offer: account.rows[slot.row].offer,
                    copy: slot.copy,
                    packet_id: effect.packet_id.clone(),
                    key: slot.key.clone(),
                });
            }
        }
    }

    fn settle_fates(
        &self,
        sink: usize,
        account: &mut Account,
        row_of: &BTreeMap<usize, usize>,
        slots: &BTreeMap<&str, Vec<Slot>>,
    ) {
        // By row and copy: when it was first seen.
        let mut seen: BTreeMap<(usize, usize), (&str, Option<u64>)> = BTreeMap::new();
        for (packet_id, named) in slots {
            for slot in named {
                seen.insert((slot.row, slot.copy), (packet_id, slot.first_ns));
            }
        }
        let copies_of = |row: usize| seen.range((row, 0)..=(row, usize::MAX)).map(|(_, copy)| *copy);
        for at in 0..account.rows.len() {
            let offer = &self.history.offers[account.rows[at].offer];
            let mut planted = None;
            let missing: Option<String> = match self.expect(account.rows[at].offer, sink).flatten() {
                None if self.declared.gone.contains(&(offer.entry.clone(), offer.seq)) => {
                    Some(offer.packet_id.to_string())
                }
                None => continue,
                Some(Expect::Absorbed) => {
                    account.rows[at].fate = Fate::Absorbed;
                    continue;
                }
                Some(Expect::Visible(_)) => {
                    let missing = copies_of(at).find(|(_, first)| first.is_none());
                    if missing.is_none() {
                        account.rows[at].fate = Fate::Visible;
                        account.rows[at].visible_ns = copies_of(at).filter_map(|(_, first)| first).max();
                    }
                    missing.map(|(packet_id, _)| packet_id.to_owned())
                }
                Some(Expect::Folded(folds)) => {
                    // An output that is filtered or renamed behind its window is looked for by all that its closer came to.
                    let absent = |closer: &EventKey, packet_id: &str| {
                        let row = *row_of.get(self.offers.get(closer)?)?;
                        let named = copies_of(row).any(|(id, _)| id == packet_id);
                        copies_of(row)
                            .find(|(id, first)| first.is_none() && (!named || *id == packet_id))
                            .map(|(id, _)| id.to_owned())
                    };
                    let missing = folds.iter().find_map(|fold| absent(&fold.closer, &fold.packet_id));
                    if missing.is_none() {
                        account.rows[at].fate = Fate::Folded;
                    }
                    missing
                }
                Some(Expect::DeadLettered { at: node, class, packet_id }) => {
                    planted = Some((*class, packet_id.as_str()));
                    Some(format!("the dead letter of {packet_id} ({} at {node})", class.name()))
                }
            };
            if let Some(missing) = missing {
                account.rows[at].fate = self.excuse(sink, &offer.packet_id, &missing, planted);
                account.rows[at].missing = Some(missing);
            }
        }
    }

    /// What a missing effect comes under: an end that was declared, still in flight, or lost. A dead letter says nothing of
    /// sinks that its node does not lead to; one that is `planted` has that class, or was given up before its node saw it.
    fn excuse(&self, sink: usize, packet_id: &str, missing: &str, planted: Option<(Class, &str)>) -> Fate {
        let declared = |set: &BTreeSet<String>| set.contains(packet_id) || set.contains(missing);
        let explains = |letter: &Buried| {
            let leads = self.expected.behind.get(format!("{}.{}", letter.host, letter.node).as_str());
            let given_up = [Class::AttemptsExhausted, Class::OrderingBlocked].map(Class::name);
            let fits =
                planted.is_none_or(|(class, _)| letter.class == class.name() || given_up.contains(&&*letter.class));
            fits && leads.is_none_or(|sinks| sinks.contains(&sink))
        };
        let named = planted.map_or(missing, |(_, named)| named);
        let dead = [packet_id, named].into_iter().filter_map(|id| self.dead.get(id)).flatten();
        match () {
            () if dead.copied().any(explains) => Fate::DeadLettered,
            () if [packet_id, missing].iter().any(|id| self.declared.shed.contains_key(*id)) => Fate::Shed,
            () if declared(&self.declared.expired) => Fate::Expired,
            () if declared(&self.declared.lost_reported) => Fate::LostReported,
            () if declared(&self.declared.lost_window) => Fate::LostWindow,
            () if !self.history.drained => Fate::Unresolved,
            () => Fate::Lost,
        }
    }

    fn balance(&self, account: &Account) -> Result<(), LedgerError> {
        let taken = self.history.offers.iter().zip(self.answers).filter(|(offer, answer)| {
            let here = self
                .expected
                .reach
                .get(&offer.entry)
                .is_some_and(|reach| reach.iter().any(|at| self.expected.sinks[*at] == account.sink));
            here && matches!(answer, Answer::Accepted | Answer::Recovered)
        });
        let taken = taken.count() as u64;
        let ended = account.rows.iter().filter(|row| row.fate != Fate::NotTaken).count() as u64;
        if taken != ended {
            return Err(LedgerError::Conservation { sink: account.sink.to_string(), taken, ended });
        }
        let held = self.history.effects.iter().filter(|effect| *effect.endpoint == *account.sink).count() as u64;
        let explained =
            account.rows.iter().map(|row| u64::from(row.copies)).sum::<u64>() + account.unexpected.len() as u64;
        if held != explained {
            return Err(LedgerError::Effects { sink: account.sink.to_string(), held, explained });
        }
        Ok(())
    }
}
