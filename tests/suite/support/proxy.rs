//! A TCP proxy in front of a server: it passes bytes on, resets its connections, or swallows everything in silence.

use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

/// How soon a connection notices that the mode changed.
const LOOK: Duration = Duration::from_millis(10);

const PASS: u8 = 0;
/// Connections are reset, new ones as well.
const CUT: u8 = 1;
/// Connections stay, new ones are taken, and nothing ever comes through: neither a byte nor an end.
const BLACK_HOLE: u8 = 2;
const END: u8 = 3;

/// The proxy; its connections are reset when it goes.
pub struct Proxy {
    /// Its port on the loopback address.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    mode: AtomicU8,
    open: AtomicUsize,
}

/// One connection, with both of its ends; closed when the second of its two threads has ended.
struct Wire {
    state: Arc<State>,
    client: TcpStream,
    /// `None` where it was taken while nothing comes through.
    server: Option<TcpStream>,
    /// Something was swallowed: what would come now makes no sense without it.
    lost: AtomicBool,
}

impl Proxy {
    /// Listens on a free port, and connects to `target` on the loopback address for whoever comes.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::<State>::default();
        let listening = Arc::clone(&state);
        std::thread::spawn(move || listening.listen(&listener, target));
        Self { port, state }
    }

    /// Bytes come through, now and from now on. Connections that lost some are reset.
    pub fn pass(&self) {
        self.state.mode.store(PASS, Ordering::SeqCst);
    }

    /// Resets all connections, and new ones until it passes again; returns when they are gone.
    pub fn cut(&self) {
        self.state.mode.store(CUT, Ordering::SeqCst);
        while self.connections() > 0 {
            std::thread::sleep(LOOK);
        }
    }

    /// Keeps all connections, takes new ones, and lets nothing through, as if a cable was pulled.
    pub fn black_hole(&self) {
        self.state.mode.store(BLACK_HOLE, Ordering::SeqCst);
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.mode.store(END, Ordering::SeqCst);
    }
}

impl State {
    fn mode(&self) -> u8 {
        self.mode.load(Ordering::SeqCst)
    }

    fn listen(self: Arc<Self>, listener: &TcpListener, target: u16) {
        while self.mode() != END {
            match listener.accept() {
                Ok((client, _)) => self.take(client, target),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK / 10),
                Err(error) => panic!("the proxy cannot listen: {error}"),
            }
        }
    }

    fn take(self: &Arc<Self>, client: TcpStream, target: u16) {
        client.set_nonblocking(false).unwrap();
        let server = match self.mode() {
            PASS => TcpStream::connect(("127.0.0.1", target)).ok(),
            BLACK_HOLE => None,
            _ => return reset(&client),
        };
        if server.is_none() && self.mode() == PASS {
            // Nobody listens there.
            return reset(&client);
        }
        for end in server.iter().chain([&client]) {
            end.set_nodelay(true).unwrap();
            end.set_read_timeout(Some(LOOK)).unwrap();
            // Whoever does not read must not keep a thread.
            end.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        let lost = AtomicBool::new(server.is_none());
        self.open.fetch_add(1, Ordering::SeqCst);
        let wire = Arc::new(Wire { state: Arc::clone(self), client, server, lost });
        let back = Arc::clone(&wire);
        std::thread::spawn(move || wire.carry(true));
        std::thread::spawn(move || back.carry(false));
    }
}

impl Wire {
    /// Carries bytes one way until there are no more.
    fn carry(&self, forth: bool) {
        let server = self.server.as_ref();
        let (from, to) = if forth { (Some(&self.client), server) } else { (server, Some(&self.client)) };
        let mut bytes = [0; 65_536];
        loop {
            let mode = self.state.mode();
            if matches!(mode, CUT | END) || (mode == PASS && self.lost.load(Ordering::SeqCst)) {
                return self.reset();
            }
            let (Some(mut from), Some(mut to)) = (from, to) else {
                std::thread::sleep(LOOK);
                continue;
            };
            let count = match from.read(&mut bytes) {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => 0,
            };
            if self.state.mode() == BLACK_HOLE {
                self.lost.store(true, Ordering::SeqCst);
                if count == 0 {
                    std::thread::sleep(LOOK);
                }
            } else if count == 0 {
                let _ = to.shutdown(std::net::Shutdown::Write);
                return;
            } else if to.write_all(&bytes[..count]).is_err() {
                return self.reset();
            }
        }
    }

    fn reset(&self) {
        reset(&self.client);
        self.server.iter().for_each(reset);
        // The other thread waits for bytes from an end that is there still.
        self.lost.store(true, Ordering::SeqCst);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has the connection end with a reset when it is closed.
fn reset(end: &TcpStream) {
    SockRef::from(end).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn it_passes_cuts_and_swallows() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap().port());
    let pair = || {
        let client = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
        let (served, _) = server.accept().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        served.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (client, served)
    };
    let say = |mut from: &TcpStream, mut to: &TcpStream| {
        let mut heard = [0; 5];
        from.write_all(b"hello").unwrap();
        to.read_exact(&mut heard).map(|()| heard)
    };
    let (client, served) = pair();
    assert_eq!((say(&client, &served).unwrap(), say(&served, &client).unwrap()), (*b"hello", *b"hello"));
    proxy.cut();
    for mut end in [&client, &served] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    refused.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    proxy.pass();
    let (client, served) = pair();
    let (idle, idle_served) = pair();
    proxy.black_hole();
    served.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silence = say(&client, &served).unwrap_err().kind();
    assert!(matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
    let mut late = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    late.write_all(b"anybody?").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(late.read(&mut [0]).is_err());
    proxy.pass();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "it lost bytes");
    assert_eq!(say(&idle, &idle_served).unwrap(), *b"hello", "it lost nothing");
}
