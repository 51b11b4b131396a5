//! What if the client hangs up?
//!
//! Then hyper may drop the future of its request, wherever it stands. But a message that
//! is on its way cannot be called back, and its outcome must be logged, counted and
//! remembered. So what is left of the work goes on in a task of ours.
//!
//! (With HTTP/1.1 hyper looks for a hang-up only between two requests, so mostly there
//! is nothing left to do. But that is hyper's business; a message must not depend on it.)
//!
//! A client that hangs up while it still sends its body has not asked for anything
//! yet: reading the body fails, and the work ends there.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tower::{Layer, Service, layer::layer_fn};

use crate::{app::Tasks, http::Request};

/// Makes the layer.
pub fn layer<I: Clone>(tasks: Tasks) -> impl Layer<I, Service = RunToEnd<I>> {
    layer_fn(move |below| RunToEnd {
        tasks: tasks.clone(),
        below,
    })
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct RunToEnd<I> {
    tasks: Tasks,
    below: I,
}

impl<I> Service<Request> for RunToEnd<I>
where
    I: Service<Request, Response: Send + 'static, Error: Send + 'static, Future: Send + 'static>,
{
    type Response = I::Response;
    type Error = I::Error;
    type Future = Running<Result<I::Response, I::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.below.poll_ready(cx)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        Running {
            work: Some(Box::pin(self.below.call(req))),
            tasks: self.tasks.clone(),
        }
    }
}

/// A future that finishes even if it is dropped.
pub struct Running<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
    tasks: Tasks,
}

impl<T: Send + 'static> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.work {
            None => Poll::Pending,
            Some(work) => {
                let done = std::task::ready!(work.as_mut().poll(cx));
                self.work = None;
                Poll::Ready(done)
            }
        }
    }
}

impl<T: Send + 'static> Drop for Running<T> {
    fn drop(&mut self) {
        // Outside a runtime there is nothing left that could finish it.
        if let Some(work) = self.work.take()
            && Handle::try_current().is_ok()
        {
            self.tasks.start(async move {
                work.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use tokio::sync::Notify;
    use tower::{Layer as _, service_fn};

    use super::*;
    use crate::http::{Body, Response};

    #[tokio::test]
    async fn work_that_was_begun_is_finished_after_the_client_is_gone() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (sender, finished) = tokio::sync::oneshot::channel();
        let sender = Arc::new(std::sync::Mutex::new(Some(sender)));
        let tasks = Tasks::default();
        let mut service = layer(tasks.clone()).layer(service_fn({
            let (begun, go_on) = (begun.clone(), go_on.clone());
            move |_: Request| {
                let (begun, go_on, sender) = (begun.clone(), go_on.clone(), sender.clone());
                async move {
                    begun.notify_one();
                    go_on.notified().await;
                    sender.lock().unwrap().take().unwrap().send(()).unwrap();
                    Ok::<_, Infallible>(Response::new(Body::empty()))
                }
            }
        }));

        let mut answer = Box::pin(service.call(Request::new(Body::empty())));
        tokio::select! {
            _ = &mut answer => unreachable!("it waits"),
            () = begun.notified() => {}
        }
        drop(answer);
        go_on.notify_one();

        finished.await.unwrap();
    }
}
