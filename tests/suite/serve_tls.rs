//! docs/nginx.conf, as it stands but for its ports and paths, before a server with a token.

use crate::serve_support::{SOON, Served, settings};
use crate::service_support::eventually;
use crate::support::python::skipped;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Instant;
use tungstenite::client::IntoClientRequest as _;

const NAME: &str = "vela.example.com";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// nginx at work; it ends with this.
struct Proxy {
    child: Child,
    http: u16,
    https: u16,
    tls: Arc<ClientConfig>,
    folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The master and its worker: it leaves both at SIGTERM.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Proxy {
    fn before(served: &Served) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned(), "localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("fullchain.pem"), cert.pem()).unwrap();
        std::fs::write(folder.path().join("privkey.pem"), signing_key.serialize_pem()).unwrap();
        let (http, https) = (free_port(), free_port());
        let mut text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/nginx.conf")).unwrap();
        for (from, to) in [
            ("127.0.0.1:8080", served.address().to_string()),
            ("listen 80;", format!("listen 127.0.0.1:{http};")),
            ("listen 443 ssl;", format!("listen 127.0.0.1:{https} ssl;")),
            ("/etc/ssl/vela/", format!("{}/", folder.path().display())),
        ] {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, &to);
        }
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};\n", folder.path().display()));
        let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
        let main = format!(
            "{user}daemon off;\nworker_processes 1;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off;\n{1}{text}}}\n",
            folder.path().display(),
            temporary.concat()
        );
        let conf = folder.path().join("main.conf");
        std::fs::write(&conf, main).unwrap();
        let child = Command::new("nginx").arg("-c").arg(&conf).arg("-p").arg(folder.path()).spawn().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(tls.with_root_certificates(roots).with_no_client_auth());
        let proxy = Self { child, http, https, tls, folder };
        let deadline = Instant::now() + SOON;
        while TcpStream::connect(("127.0.0.1", https)).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        proxy
    }

    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.https)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), stream)
    }

    /// What comes back, until the connection ends.
    fn ask(&self, first_line: &str, headers: &str, body: &str) -> String {
        let mut stream = self.connect();
        let length = body.len();
        let head = format!(
            "{first_line} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Length: {length}\r\n"
        );
        stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).unwrap();
        let mut said = Vec::new();
        // The end may come without TLS's own.
        let _ = stream.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// A server with a token, and nginx before it; nothing where there is no nginx.
fn proxied() -> Option<(Served, Proxy)> {
    if Command::new("nginx").arg("-v").output().is_err() {
        skipped("docs/nginx.conf was not run: nginx is not installed (apt-get install nginx-light)");
        return None;
    }
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), TOKEN).unwrap();
    let mut settings = settings();
    settings.serve.token_file = token.path().to_owned();
    settings.serve.hosts = NAME.to_owned();
    let served = Served::with(settings);
    let proxy = Proxy::before(&served);
    Some((served, proxy))
}

#[test]
fn the_nginx_example_bounds_what_an_address_asks_for() {
    let Some((_served, proxy)) = proxied() else { return };
    // 200 at once and 100 a second: 500 that come together are too many, however slow the machine is.
    let one = format!("GET /livez HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    let last = format!("GET /livez HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    let deadline = Instant::now() + SOON;
    loop {
        let mut stream = proxy.connect();
        stream.write_all((one.repeat(499) + &last).as_bytes()).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let count = |status: &str| said.matches(&format!("HTTP/1.1 {status} ")).count();
        assert_eq!(count("200") + count("429"), 500, "each is answered: {said:.300}");
        if count("429") > 0 {
            assert!(count("200") > 0, "what is allowed is served");
            break;
        }
        assert!(Instant::now() < deadline, "no request was too many");
    }
    let allowed = || proxy.ask("GET /livez", "", "").starts_with("HTTP/1.1 200");
    eventually("what was too much is forgotten", || allowed().then_some(()));
}

#[test]
fn the_nginx_example_bounds_the_connections_of_an_address() {
    let Some((_served, proxy)) = proxied() else { return };
    let stream = || {
        let mut stream = proxy.connect();
        let head =
            format!("GET /api/stream HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (stream, String::from_utf8_lossy(&start).into_owned())
    };
    let mut held: Vec<_> = (0..100).map(|_| stream()).collect();
    assert!(
        held.iter().all(|(_, start)| start == "HTTP/1.1 200"),
        "{:?}",
        held.iter().map(|held| &held.1).collect::<Vec<_>>()
    );
    assert_eq!(stream().1, "HTTP/1.1 503", "one more than limit_conn allows");
    held.truncate(50);
    eventually("the places come back", || (stream().1 == "HTTP/1.1 200").then_some(()));
}

#[test]
fn the_nginx_example_serves_everything_by_tls() {
    let Some((served, proxy)) = proxied() else { return };
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");

    let redirected = {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.http)).unwrap();
        write!(stream, "GET /api/health HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    assert!(redirected.contains(" 308 ") && redirected.contains(&format!("https://{NAME}/api/health")));

    let page = proxy.ask("GET /", "", "");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Strict-Transport-Security"), "{page:.300}");
    assert!(proxy.ask("GET /api/health", "", "").starts_with("HTTP/1.1 401"));
    assert!(proxy.ask("GET /api/health", &bearer, "").starts_with("HTTP/1.1 200"));
    let row = "{\"inputs\":[{\"name\":\"features\",\"shape\":[1,13],\"datatype\":\"FP32\",\"data\":[0,0,0,0,0,0,0,0,0,0,0,0,0]}]}";
    let inferred = proxy.ask("POST /v2/models/demo-1m-h1/infer", &bearer, row);
    assert!(inferred.starts_with("HTTP/1.1 200") && inferred.contains("\"data\":["), "{inferred}");
    // A page of ours may change something, one of others must not; what is too large ends at the proxy.
    let rollback = |origin: &str| {
        let headers = format!("{bearer}Origin: {origin}\r\n");
        proxy.ask("POST /api/models/none/rollback", &headers, "{}")
    };
    assert!(rollback("https://vela.example.com").starts_with("HTTP/1.1 404"));
    assert!(rollback("https://evil.example.com").starts_with("HTTP/1.1 403"));
    let large = proxy.ask("POST /api/predict/batch", &bearer, &"x".repeat(5 << 20));
    assert!(large.is_empty() || large.starts_with("HTTP/1.1 413"), "{large:.100}");

    // Predictions as they come, both ways, while bars are taken.
    let url = format!("wss://{NAME}/api/stream");
    let mut request = url.as_str().into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request.headers_mut().insert("Origin", format!("https://{NAME}").parse().unwrap());
    let (mut socket, _) = tungstenite::client(request, proxy.connect()).ok().unwrap();
    socket.send("{\"type\":\"subscribe\"}".into()).unwrap();
    let mut events = proxy.connect();
    let head =
        format!("GET /api/stream HTTP/1.1\r\nHost: {NAME}\r\nAccept: text/event-stream\r\n{bearer}\r\n");
    events.write_all(head.as_bytes()).unwrap();
    served.feed(&crate::service_support::market(1, 80));
    let mut text = String::new();
    while !text.contains("\"value\":") {
        text = socket.read().unwrap().to_string();
    }
    let (mut block, mut said) = ([0; 4096], String::new());
    while !said.contains("\"value\":") {
        let read = events.read(&mut block).unwrap();
        assert!(read > 0, "{said}");
        said += &String::from_utf8_lossy(&block[..read]);
    }
    assert!(said.contains("text/event-stream"), "{said:.300}");
}

#[test]
fn top_looks_through_tls() {
    let Some((_served, proxy)) = proxied() else { return };
    let url = format!("https://localhost:{}", proxy.https);
    let top = |trusted: &str, token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vela"));
        // Whom this system trusts, in the way that its libraries are told another file.
        command.env("SSL_CERT_FILE", proxy.folder.path().join(trusted)).env("VELA_TOKEN", token);
        let output = command.args(["top", "--once", "--url", &url]).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), said(&output.stdout), said(&output.stderr))
    };
    let (well, shown, complaint) = top("fullchain.pem", TOKEN);
    assert!(well && shown.contains(&url) && shown.contains("persist"), "{shown}{complaint}");
    let (well, _, complaint) = top("none.pem", TOKEN);
    assert!(
        !well && complaint.starts_with("error: https://") && !complaint.contains("panicked"),
        "{complaint}"
    );
}
