//! TLS against a server with a real certificate; and what a connection asks of the server and of the system.

use crate::support::cluster::Cluster;
use crate::support::postgres::DEADLINE;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::Path;
use std::time::{Duration, Instant};
use vela::config::{DatabaseSettings, Settings, StoreUrl};
use vela::database::{DatabaseError, Server, Session, Trouble};

/// An authority, which signs what it is asked to.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `host`, with its key.
    fn signs(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn connect(url: &str, settings: &DatabaseSettings) -> Result<Session, DatabaseError> {
    let Ok(StoreUrl::Postgres(url)) = url.parse() else { panic!("{url}") };
    Server::new(&url, settings)?.connect()
}

fn settings() -> DatabaseSettings {
    Settings::default().database
}

fn text(session: &mut Session, sql: &'static str) -> String {
    session.run("ask", DEADLINE, move |client| Ok(client.driver().query_one(sql, &[])?.get(0))).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (certificate, key) = ours.signs("localhost");
    let conf = ["ssl = on", "ssl_cert_file = 'tls.crt'", "ssl_key_file = 'tls.key'"];
    let Some(cluster) = Cluster::start_with(&conf, &[("tls.crt", &certificate), ("tls.key", &key)]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) =
        (write(folder.path(), "ours.pem", &ours.pem), write(folder.path(), "other.pem", &other.pem));
    let url = |host: &str, parameters: &str| {
        format!("postgres://vela:canary@{host}:{}/postgres?{parameters}", cluster.port)
    };
    for (host, parameters, encrypted) in [
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}"), true),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ours}"), true),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        ("127.0.0.1", "sslmode=prefer".to_owned(), true),
        ("127.0.0.1", "sslmode=disable".to_owned(), false),
    ] {
        let mut session = connect(&url(host, &parameters), &settings()).unwrap();
        let sql =
            "SELECT ssl::text || coalesce(' ' || version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let found = text(&mut session, sql);
        assert_eq!(found, if encrypted { "true TLSv1.3" } else { "false" }, "{host} {parameters}");
    }
    for (host, parameters, words) in [
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ours}"), "not valid for name \"127.0.0.1\""),
        ("localhost", format!("sslmode=verify-full&sslrootcert={other}"), "UnknownIssuer"),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={other}"), "UnknownIssuer"),
        // As libpq: whoever names an authority wants it checked.
        ("localhost", format!("sslmode=require&sslrootcert={other}"), "UnknownIssuer"),
    ] {
        let error = connect(&url(host, &parameters), &settings()).err().unwrap();
        assert_eq!(error.trouble, Trouble::Refused, "somebody has to change something: {error}");
        let said = error.to_string();
        assert!(said.contains("certificate") && said.contains(words) && !said.contains("canary"), "{said}");
    }
    let Some(plain) = Cluster::start(&[]) else { return };
    let error = connect(&format!("{}?sslmode=require", plain.url()), &settings()).err().unwrap();
    assert!(error.trouble == Trouble::Refused && error.to_string().contains("TLS"), "{error}");
}

#[test]
fn a_password_that_is_missing_or_wrong_is_no_server_that_is_away() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n";
    let Some(cluster) = Cluster::start_with(&["hba_file = 'data/own_hba.conf'"], &[("own_hba.conf", hba)])
    else {
        return;
    };
    for user in ["vela", "vela:canary"] {
        let url = format!("postgres://{user}@127.0.0.1:{}/postgres", cluster.port);
        let error = connect(&url, &settings()).err().unwrap();
        assert_eq!(error.trouble, Trouble::Refused, "{error}");
        let said = error.to_string();
        assert!(said.contains("password") && !said.contains("canary"), "{said}");
    }
}

#[test]
fn the_server_and_the_system_see_what_is_configured() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let settings = DatabaseSettings { statement_timeout_ms: 300, ..settings() };
    let mut session = connect(&cluster.url(), &settings).unwrap();
    let sql = "SELECT concat_ws(' ', (SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()), \
               current_setting('statement_timeout'), current_setting('TimeZone'))";
    assert_eq!(text(&mut session, sql), "vela 300ms UTC");
    let begin = Instant::now();
    let error = session.run("sleep", DEADLINE, |client| client.driver().batch_execute("SELECT pg_sleep(60)"));
    let error = error.unwrap_err();
    assert!(error.is_away() && error.to_string().contains("57014"), "{error}");
    assert!(begin.elapsed() < DEADLINE / 2 && !session.is_broken());
    // The system probes the peer of a silent connection: timer 2 of /proc/net/tcp, due in at most 3 s.
    let port: u16 = text(&mut session, "SELECT inet_client_port()::text").parse().unwrap();
    let lines = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = format!("0100007F:{port:04X}");
    let line =
        lines.lines().find(|line| line.split_whitespace().nth(1) == Some(&ours)).expect("the connection");
    let (timer, due) = line.split_whitespace().nth(5).unwrap().split_once(':').unwrap();
    let due_s = u64::from_str_radix(due, 16).unwrap() as f64 / 100.0;
    assert!(timer == "02" && due_s <= 3.1, "{line}");
    let named = format!("{}?application_name=desk-7", cluster.url());
    let mut session = connect(&named, &settings).unwrap();
    assert_eq!(text(&mut session, "SELECT current_setting('application_name')"), "desk-7");
    assert!(
        session
            .run("wait", Duration::from_millis(50), |client| client
                .driver()
                .batch_execute("SELECT pg_sleep(0.2)"))
            .is_err()
    );
}
