//! Connections to a real PostgreSQL: what they do when the server goes, hangs, or is silent.

use crate::support::cluster::Cluster;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::config::{DatabaseSettings, Settings, StoreUrl};
use vela::database::{Connections, DatabaseError, Server, Trouble};

const DEADLINE: Duration = Duration::from_secs(10);

fn settings() -> DatabaseSettings {
    Settings::default().database
}

fn server(url: &str, settings: &DatabaseSettings) -> Result<Server, DatabaseError> {
    let Ok(StoreUrl::Postgres(url)) = url.parse() else { panic!("{url}") };
    Server::new(&url, settings)
}

#[test]
fn a_session_answers_and_prepares_a_statement_once() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let mut session = server(&cluster.url(), &settings()).unwrap().connect().unwrap();
    for n in [20_i32, 21] {
        let doubled = session.run("double", DEADLINE, move |client| {
            let (driver, statement) = client.prepared("SELECT $1::int4 * 2")?;
            driver.query_one(&statement, &[&n]).map(|row| row.get::<_, i32>(0))
        });
        assert_eq!(doubled.unwrap(), 2 * n);
    }
    let prepared = session.run("count", DEADLINE, |client| {
        let row = client.driver().query_one(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1::int4 * 2'",
            &[],
        )?;
        Ok(row.get::<_, i64>(0))
    });
    assert_eq!(prepared.unwrap(), 1);
    let name = session.run("name", DEADLINE, |client| {
        Ok(client.driver().query_one("SELECT current_setting('application_name')", &[])?.get::<_, String>(0))
    });
    assert_eq!(name.unwrap(), "vela");
}

#[test]
fn a_statement_that_fails_leaves_the_session_and_says_whose_fault_it_is() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let mut session = server(&cluster.url(), &settings()).unwrap().connect().unwrap();
    for (sql, trouble) in [
        ("SELECT 1/0", Trouble::Data),
        ("SELECT * FROM nothing_of_this_name", Trouble::Refused),
        ("SET statement_timeout = 20; SELECT pg_sleep(5)", Trouble::Away),
    ] {
        let error =
            session.run("try", DEADLINE, move |client| client.driver().batch_execute(sql)).unwrap_err();
        assert_eq!(error.trouble, trouble, "{error}");
        assert!(!session.is_broken(), "{error}");
    }
}

#[test]
fn a_server_that_dies_is_noticed_and_one_that_is_back_is_used_again() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let server = Arc::new(server(&cluster.url(), &settings()).unwrap());
    let connections = Connections::new(server, &settings());
    let ask = |connections: &Connections| {
        connections.get()?.run("ask", DEADLINE, |client| client.driver().batch_execute("SELECT 1"))
    };
    ask(&connections).unwrap();
    cluster.ctl(&["restart", "-w", "-m", "immediate", "-l", &cluster.log()]);
    // The pooled connection is dead: it is tried before it is used, and another takes its place.
    ask(&connections).unwrap();
    cluster.ctl(&["stop", "-w", "-m", "immediate"]);
    let begin = Instant::now();
    assert!(ask(&connections).unwrap_err().is_away());
    assert!(begin.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_peer_that_says_nothing_costs_no_more_than_the_deadline() {
    // Takes connections and never answers: neither does its system close them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://vela:geheim@{}/x?sslmode=disable", silent.local_addr().unwrap());
    let settings = DatabaseSettings { connect_timeout_ms: 300, ..settings() };
    let begin = Instant::now();
    let error = server(&url, &settings).unwrap().connect().err().unwrap();
    assert!(error.is_away() && begin.elapsed() < Duration::from_secs(3), "{error}");
    let text = error.to_string();
    assert!(text.contains("no answer within 300 ms") && !text.contains("geheim"), "{text}");
}

#[test]
fn connections_beyond_the_pool_are_closed_when_they_come_back() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let settings = DatabaseSettings { pool_size: 2, max_overflow: 2, connect_timeout_ms: 1000, ..settings() };
    let connections = Connections::new(Arc::new(server(&cluster.url(), &settings).unwrap()), &settings);
    let mut held: Vec<_> = (0..4).map(|_| connections.get().unwrap()).collect();
    assert!(connections.get().err().unwrap().is_away(), "a fifth");
    let mut last = held.pop().unwrap();
    drop(held);
    let open = |session: &mut vela::database::Session| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vela'";
        session
            .run("count", DEADLINE, move |client| Ok(client.driver().query_one(sql, &[])?.get::<_, i64>(0)))
    };
    let begin = Instant::now();
    while open(&mut last).unwrap() > 2 {
        assert!(begin.elapsed() < DEADLINE, "more than the pool keeps are open");
    }
}

#[test]
fn what_is_wrong_with_a_url_or_its_files_is_said_before_anything_connects() {
    for (parameters, expected) in [
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("sslmode=verify-full&sslcert=/nowhere/client.pem", "sslcert and sslkey belong together"),
        ("sslmode=perhaps", "sslmode"),
        ("colour=red", "colour"),
        ("service=prod", "service files are not read"),
    ] {
        let url = format!("postgres://vela:geheim@localhost/x?{parameters}");
        let error = server(&url, &settings()).err().unwrap().to_string();
        assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
    }
}

#[test]
fn what_people_write_for_a_server_is_understood_or_said_how_to_write() {
    for (url, expected) in [
        ("postgres://vela:p@ss:w/rd@localhost/x", "@ is %40"),
        ("postgres:///x", "names no server: write postgres://"),
    ] {
        let error = server(url, &settings()).err().unwrap().to_string();
        assert!(error.contains(expected) && !error.contains("p@ss"), "{error}");
    }
    let name = |url: &str| server(url, &settings()).unwrap().name().to_owned();
    assert_eq!(name("postgres://vela@[::1]:5433/x?gssencmode=disable"), "postgres://[::1]:5433/x");
    assert_eq!(
        name("postgres://vela@a,b:5433/x?target_session_attrs=read-write"),
        "postgres://a:5432,b:5433/x"
    );
}

#[test]
fn a_server_that_cannot_be_reached_keeps_nobody_from_the_next_one() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    // Its queue of connections is full, and what comes further is dropped without a word, as by a machine that is off.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&silent).listen(0).unwrap();
    let address = silent.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let full: Vec<_> = std::iter::repeat_with(connect).take_while(Result::is_ok).take(100).collect();
    assert!(full.len() < 100, "it takes any number of connections");
    let url = format!(
        "postgres://vela@{address},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        cluster.port
    );
    let mut session = server(&url, &settings()).unwrap().connect().unwrap();
    session.run("ask", DEADLINE, |client| client.driver().batch_execute("SELECT 1")).unwrap();
}

#[test]
fn a_socket_of_this_machine_needs_no_tls_and_a_password_may_stand_in_a_file() {
    let hba = "local all vela trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n";
    let Some(cluster) = Cluster::start_with(&["hba_file = 'data/own_hba.conf'"], &[("own_hba.conf", hba)])
    else {
        return;
    };
    let folder = std::path::Path::new(&cluster.log()).parent().unwrap().display().to_string();
    let socket = |user: &str| format!("postgres:///postgres?host={folder}&port={}&user={user}", cluster.port);
    let ask = |url: &str| {
        let mut session = server(url, &settings())?.connect()?;
        session.run("who", DEADLINE, |client| {
            Ok(client.driver().query_one("SELECT current_user::text", &[])?.get::<_, String>(0))
        })
    };
    assert_eq!(ask(&format!("{}&sslmode=require", socket("vela"))).unwrap(), "vela");
    let mut owner = server(&socket("vela"), &settings()).unwrap().connect().unwrap();
    owner
        .run("a role", DEADLINE, |client| {
            client.driver().batch_execute("CREATE ROLE reader LOGIN PASSWORD 'p@ss:w/\u{f6}?r#d%'")
        })
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("passwords");
    let line = format!(
        "# by host\nlocalhost:*:*:reader:no\n127.0.0.1:{}:postgres:reader:p@ss\\:w/\u{f6}?r#d%\n",
        cluster.port
    );
    std::fs::write(&file, line).unwrap();
    let allow = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(0o600);
    let with_file = |url: &str| format!("{url}passfile={}", file.display());
    let tcp = format!("postgres://reader@127.0.0.1:{}/postgres?", cluster.port);
    assert_eq!(ask(&with_file(&tcp)).unwrap(), "reader");
    assert_eq!(
        ask(&format!("postgres://reader:p%40ss%3Aw%2F%C3%B6%3Fr%23d%25@127.0.0.1:{}/postgres", cluster.port))
            .unwrap(),
        "reader"
    );
    let error = ask(&with_file(&format!("{}&", socket("reader")))).unwrap_err();
    assert!(error.trouble == Trouble::Refused && error.to_string().contains("28P01"), "{error}");
    allow(0o644);
    let error = ask(&with_file(&tcp)).unwrap_err();
    assert!(error.trouble == Trouble::Refused && error.to_string().contains("chmod 600"), "{error}");
}
