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
    ] {
        let url = format!("postgres://vela:geheim@localhost/x?{parameters}");
        let error = server(&url, &settings()).err().unwrap().to_string();
        assert!(error.contains(expected) && !error.contains("geheim"), "{error}");
    }
}
