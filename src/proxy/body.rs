//! Bodies on their way: a container's question, and the model's answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::answer::BoxError;
use super::client::root_cause;
use super::meter::Meter;

/// How long a container may be silent in the midst of a question.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// It was silent for longer.
#[derive(Debug, thiserror::Error)]
#[error("the request did not go on")]
pub(super) struct Stalled;

/// A question on its way to the model: its bytes are counted, and where they stop
/// coming it is given up.
pub(super) struct Outgoing<B> {
    inner: B,
    sent: Arc<AtomicU64>,
    patience: Duration,
    limit: Pin<Box<Sleep>>,
}

impl<B> Outgoing<B> {
    pub(super) fn new(inner: B, sent: Arc<AtomicU64>, patience: Duration) -> Outgoing<B> {
        Outgoing { inner, sent, patience, limit: Box::pin(sleep(patience)) }
    }
}

impl<B> Body for Outgoing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            ready!(this.limit.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Stalled.into())));
        };
        this.limit.as_mut().reset(Instant::now() + this.patience);
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Ends when the container may not ask any more.
pub(super) type Held = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer of the model that is metered while it passes, unchanged, and cut when
/// its container may not ask the model any more.
pub(super) struct Metered<B, P> {
    pub(super) inner: B,
    pub(super) meter: Meter,
    pub(super) held: Held,
    /// Its place among those under way.
    pub(super) _place: P,
}

impl<B, P> Body for Metered<B, P>
where
    B: Body<Data = Bytes> + Unpin,
    P: Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.held.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("the container may not ask the model any more".into())));
        }
        Poll::Ready(match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.meter.see(data);
                }
                if this.inner.is_end_stream() {
                    this.meter.end();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let error = error.into();
                this.meter.broke_off(root_cause(&*error));
                Some(Err(error))
            }
            None => {
                this.meter.end();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;

    struct Pieces(mpsc::Receiver<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    #[tokio::test]
    async fn a_question_that_does_not_go_on_is_given_up() {
        let (sender, pieces) = mpsc::channel(1);
        let sent = Arc::new(AtomicU64::new(0));
        let mut question = Outgoing::new(Pieces(pieces), sent.clone(), Duration::from_millis(200));
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(80)).await;
            sender.send("four".into()).await.unwrap();
            question.frame().await.unwrap().unwrap();
        }
        assert!(question.frame().await.unwrap().unwrap_err().is::<Stalled>());
        assert_eq!(sent.load(Ordering::Relaxed), 16);
    }
}
