//! Sources and sinks as they are, with a witness beside them.

use std::sync::Arc;

use seaworthy_engine::env::Fut;
use seaworthy_engine::node::{Acks, Entry, NodeError, Resume, Sink, Source};
use seaworthy_engine::packet::{Packet, Seq};

use super::Witness;

pub(super) struct SeenSource {
    pub(super) inner: Box<dyn Source>,
    pub(super) node: Arc<str>,
    pub(super) witness: Arc<Witness>,
}

impl Source for SeenSource {
    fn start(&mut self, resume: Resume) -> Fut<'_, Result<(), NodeError>> {
        self.inner.start(resume)
    }

    fn next(&mut self, max: usize) -> Fut<'_, Result<Option<Vec<Entry>>, NodeError>> {
        Box::pin(async move {
            let next = self.inner.next(max).await;
            if let Ok(Some(entries)) = &next {
                self.witness.brought(&self.node, entries);
            }
            next
        })
    }

    fn acks(&self) -> Option<Arc<dyn Acks>> {
        Some(Arc::new(SeenAcks { inner: self.inner.acks(), node: self.node.clone(), witness: self.witness.clone() }))
    }
}

struct SeenAcks {
    inner: Option<Arc<dyn Acks>>,
    node: Arc<str>,
    witness: Arc<Witness>,
}

impl Acks for SeenAcks {
    fn settled(&self, seqs: &[Seq]) {
        self.witness.settled(&self.node, seqs);
        if let Some(inner) = &self.inner {
            inner.settled(seqs);
        }
    }
}

pub(super) struct SeenSink {
    pub(super) inner: Box<dyn Sink>,
    pub(super) node: Arc<str>,
    pub(super) witness: Arc<Witness>,
}

impl Sink for SeenSink {
    fn write<'a>(&'a mut self, batch: &'a [Packet]) -> Fut<'a, Vec<Result<(), NodeError>>> {
        Box::pin(async move {
            let results = self.inner.write(batch).await;
            let taken = batch.iter().zip(&results).filter(|(_, result)| result.is_ok());
            self.witness.took(&self.node, taken.map(|(packet, _)| packet));
            results
        })
    }
}
