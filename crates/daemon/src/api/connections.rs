//! HTTP over connections, of strangers too: how many there may be, and what each may take.
//!
//! # Theory of operation
//!
//! Whoever may connect can send nothing, or slowly, or half of a request, and leave its answer unread.
//! None of it may cost others more than a moment:
//!
//! | what | may take |
//! |---|---|
//! | the head of a request: its line and headers | [`HEAD`] bytes, 100 headers, and [`HEAD_TIME`] since the connection or the request before |
//! | its body | what its operation says, and [`body`](super::body)'s time |
//! | an answer | [`UNREAD`] without a byte that is taken |
//! | connections to the port | [`MOST`] |
//!
//! When all places are taken, a newcomer gets that of the oldest connection that is not being answered,
//! which is ended: who only waits keeps nobody out. While all of them are being answered newcomers
//! wait to be accepted.
//!
//! Requests that are no HTTP are answered with 400, heads that are too long with 431, both without a
//! body, and the connection ends.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, extract::Request, serve::Listener};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
};

use super::{ended, patience::Patient};

/// Bytes of a request's line and headers together.
const HEAD: usize = 16 << 10;

/// How long they may take to come.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a peer may leave what it is sent unread.
const UNREAD: Duration = Duration::from_secs(30);

/// Connections to the port at the same time: twice the invocations that an agent runs.
pub(super) const MOST: usize = 512;

/// How HTTP is spoken.
pub(super) fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_header_size(HEAD);
    http
}

/// Answers whoever connects, at most so many at the same time, until the daemon ends.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    most: usize,
    ending: watch::Receiver<bool>,
) {
    let mut places = Places { most, taken: VecDeque::new(), freed: Arc::default() };
    let mut open = JoinSet::new();
    loop {
        let has_room = places.has_room();
        tokio::select! {
            () = ended(ending.clone()) => break,
            Some(_) = open.join_next() => {}
            () = places.freed.notified(), if !has_room => {}
            (stream, _) = listener.accept(), if has_room => {
                if !places.make_room() {
                    // The one that could have gone is being answered by now.
                    continue;
                }
                let answering = Answering::new(&places.freed);
                let stream = Patient::new(stream, UNREAD);
                let (router, ending) = (router.clone(), ended(ending.clone()));
                let conversation =
                    converse(http(), stream, router, Arc::clone(&answering), ending);
                let task = open.spawn(conversation);
                places.taken.push_back(Place { task, answering });
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Answers the requests of one connection; at `ending`, the one that has come and no further ones.
pub(super) async fn converse(
    http: http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
    answering: Arc<Answering>,
    ending: impl Future<Output = ()>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, answering) = (router.call(request), Arc::clone(&answering));
        async move {
            let _until_answered = answering.begin();
            answer.await
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = ending => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the API has ended");
    }
}

/// The places for connections.
struct Places {
    most: usize,
    /// The oldest first; some may have ended.
    taken: VecDeque<Place>,
    /// Told when a connection is not being answered any more.
    freed: Arc<Notify>,
}

struct Place {
    task: AbortHandle,
    answering: Arc<Answering>,
}

impl Places {
    /// Whether there is a place for one more, or one that can be had.
    fn has_room(&mut self) -> bool {
        self.taken.retain(|place| !place.task.is_finished());
        self.taken.len() < self.most || self.silent().is_some()
    }

    /// If all places are taken, ends the oldest connection that is not being answered. False if there
    /// is none.
    fn make_room(&mut self) -> bool {
        if self.taken.len() < self.most {
            return true;
        }
        let Some(silent) = self.silent().and_then(|at| self.taken.remove(at)) else { return false };
        tracing::debug!("a connection has made room for another one");
        silent.task.abort();
        true
    }

    fn silent(&self) -> Option<usize> {
        self.taken.iter().position(|place| !place.answering.is_it.load(Relaxed))
    }
}

/// Whether a connection is being answered: its request's head has come, and the answer's is not there
/// yet.
#[derive(Debug)]
pub(super) struct Answering {
    is_it: AtomicBool,
    freed: Arc<Notify>,
}

impl Answering {
    /// It is not; `freed` is told when it was and is no longer.
    pub(super) fn new(freed: &Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { is_it: AtomicBool::new(false), freed: Arc::clone(freed) })
    }

    /// It is, until what this returns is dropped.
    fn begin(self: Arc<Self>) -> UntilAnswered {
        self.is_it.store(true, Relaxed);
        UntilAnswered(self)
    }
}

struct UntilAnswered(Arc<Answering>);

impl Drop for UntilAnswered {
    fn drop(&mut self) {
        self.0.is_it.store(false, Relaxed);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// What is answered to whoever sends this and then waits, with so much time for a head.
    async fn answer(sent: &str, head_time: Duration) -> String {
        let (near, mut far) = duplex(1 << 20);
        let router = Router::new().route("/", get(|| async { "here" }));
        let mut http = http();
        http.header_read_timeout(head_time);
        let serve = converse(http, near, router, Answering::new(&Arc::default()), pending());
        let ask = async {
            far.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            far.read_to_string(&mut answer).await.unwrap();
            answer
        };
        tokio::join!(serve, ask).1
    }

    #[tokio::test]
    async fn who_sends_no_whole_head_is_hung_up_on() {
        let soon = Duration::from_millis(10);
        assert_eq!(answer("", soon).await, "");
        assert_eq!(answer("GET / HTTP/1.1\r\nhost: x\r\n", soon).await, "");
        // After an answer, too.
        let answered = answer("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET", soon).await;
        assert!(answered.ends_with("here"), "{answered}");
    }

    #[tokio::test]
    async fn heads_that_are_too_long_or_no_http_are_refused() {
        let later = Duration::from_secs(60);
        let long = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", "x".repeat(HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
        for sent in [&long, &many] {
            assert!(answer(sent, later).await.starts_with("HTTP/1.1 431 "), "{}", sent.len());
        }
        for sent in ["\u{16}\u{3}\u{1}\r\n\r\n", "GET / HTTP/9\r\n\r\n", "GET\r\n\r\n"] {
            assert!(answer(sent, later).await.starts_with("HTTP/1.1 400 "), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn the_oldest_that_only_waits_makes_room() {
        let mut places = Places { most: 2, taken: VecDeque::new(), freed: Arc::default() };
        let mut open = JoinSet::new();
        let mut add = |places: &mut Places, name: &'static str| {
            let answering = Answering::new(&places.freed);
            let task = open.spawn(async move {
                pending::<()>().await;
                name
            });
            places.taken.push_back(Place { task, answering: Arc::clone(&answering) });
            answering
        };
        let first = add(&mut places, "first");
        assert!(places.has_room() && places.make_room());
        let second = add(&mut places, "second");
        let answered = Arc::clone(&first).begin();
        assert!(places.has_room() && places.make_room(), "the second one goes");
        assert_eq!(places.taken.len(), 1);
        let third = add(&mut places, "third");
        let _answered_too = third.begin();
        assert!(!places.has_room() && !places.make_room(), "all are being answered");
        drop(answered);
        places.freed.notified().await;
        assert!(places.has_room(), "one is no longer");
        drop((first, second));
    }
}
