//! Bodies on their way: a container's question, and the model's answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::answer::BoxError;
use super::client::root_cause;
use super::meter::Meter;

/// A question on its way to the model, whose bytes are counted.
pub(super) struct Outgoing<B> {
    inner: B,
    sent: Arc<AtomicU64>,
}

impl<B> Outgoing<B> {
    pub(super) fn new(inner: B, sent: Arc<AtomicU64>) -> Outgoing<B> {
        Outgoing { inner, sent }
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
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.sent.fetch_add(bytes, Ordering::Relaxed);
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

type Held = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer of the model that is metered while it passes, unchanged, and cut when
/// its container may not ask the model any more.
pub(super) struct Metered<B> {
    inner: B,
    meter: Meter,
    held: Held,
}

impl<B> Metered<B> {
    pub(super) fn new(
        inner: B,
        meter: Meter,
        held: impl Future<Output = ()> + Send + 'static,
    ) -> Metered<B> {
        Metered { inner, meter, held: Box::pin(held) }
    }
}

impl<B> Body for Metered<B>
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
