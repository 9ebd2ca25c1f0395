//! A password is nowhere to be seen: not in the log, on the terminal, in the spool, in arguments or metrics.

use crate::serve_support::Client;
use crate::service_support::{Home, MODELS, Table, eventually, market};
use crate::support::cluster::Cluster;
use crate::support::proxy::Proxy;
use std::path::{Path, PathBuf};
use std::process::Command;
use vela::config::Settings;

/// With characters that have to be escaped in a URL.
const CANARY: &str = "kAnArY-7/p4ss@w0rd";
const ESCAPED: &str = "kAnArY-7%2Fp4ss%40w0rd";

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    assert!(!text.contains("kanary"), "{what}: {text}");
}

#[test]
fn a_password_is_nowhere_to_be_seen() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n";
    let Some(cluster) = Cluster::start_with(&[], &[("own_hba.conf", hba)]) else { return };
    let mut admin = postgres::Client::connect(&cluster.url(), postgres::NoTls).unwrap();
    admin.batch_execute(&format!("ALTER ROLE vela PASSWORD '{CANARY}'")).unwrap();
    admin.batch_execute("ALTER SYSTEM SET hba_file = 'data/own_hba.conf'").unwrap();
    cluster.ctl(&["restart", "-w", "-m", "fast", "-l", &cluster.log()]);
    let proxy = Proxy::start(cluster.port);
    let url = format!("postgres://vela:{ESCAPED}@127.0.0.1:{}/postgres?sslmode=disable", proxy.port);
    let home = Home::bare();
    home.write(
        "vela.toml",
        format!(
            "store.spool_path = \"spool\"\nsource.path = \"bars.db\"\nmodels.path = \"{MODELS}\"\nlog.level = \"trace\"\n\
             log.path = \"logs/vela.log\"\nfeature.warm_up = \"defined\"\ndatabase.echo = true\n\
             database.connect_timeout_ms = 1000\nlog.performance_interval_s = 1\nserve.listen = \"127.0.0.1:0\"\n"
        ),
    );
    let vela = |arguments: &[&str], url: &str| {
        let mut command: Command = home.vela(arguments);
        command.env("VELA_STORE__URL", url);
        let output = command.output().unwrap();
        assert_clean(&format!("{arguments:?}"), &[&output.stdout[..], &output.stderr[..]].concat());
        output.status.success()
    };
    assert!(vela(&["db", "init", "--config", "vela.toml"], &url), "the password is right");
    assert!(vela(&["db", "status", "--config", "vela.toml"], &url));
    assert!(vela(&["config", "show", "--config", "vela.toml"], &url));
    for wrong in [
        url.replace("p4ss", "wr0ng"),
        url.replace("/postgres?", "/nosuch?"),
        format!("{url}&sslmode=perhaps&colour=red"),
        url.replace("postgres://", "postgers://"),
        url.replace("127.0.0.1", "no.such.host.invalid"),
        format!(
            "postgres://vela@127.0.0.1:{}/postgres?password={ESCAPED}&sslmode=verify-full&sslrootcert=/nowhere",
            proxy.port
        ),
        format!("postgres://vela:{CANARY}@127.0.0.1:1/x"),
    ] {
        assert!(!vela(&["db", "status", "--config", "vela.toml"], &wrong), "{wrong}");
        vela(&["config", "show", "--config", "vela.toml"], &wrong);
    }
    let mut table = Table::create(&home.path("bars.db"));
    let bars = market(2, 80);
    table.feed(&bars[..100]);
    let mut command = home.vela(&["run", "--config", "vela.toml"]);
    command.env("VELA_STORE__URL", &url);
    let mut service = crate::service_support::Service::start(&home, &mut command);
    service.says("vela runs with");
    let rows = |admin: &mut postgres::Client| {
        let sql = "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
        admin.query_one(sql, &[]).unwrap().get::<_, i64>(0)
    };
    let admin_url = cluster.url().replace("vela@", &format!("vela:{ESCAPED}@"));
    let mut admin = postgres::Client::connect(&admin_url, postgres::NoTls).unwrap();
    eventually("rows", || (rows(&mut admin) == 300).then_some(()));
    // Every trouble that there is: reset, silent, a password that is no longer right.
    proxy.cut();
    table.feed(&bars[100..120]);
    eventually("rows in the spool", || {
        files(&home.path("spool"))
            .iter()
            .any(|path| path.extension().is_some_and(|e| e == "rows"))
            .then_some(())
    });
    admin.batch_execute("ALTER ROLE vela PASSWORD 'another'").unwrap();
    proxy.pass();
    let log = home.path("logs/vela.log");
    eventually("a refusal in the log", || {
        std::fs::read_to_string(&log).unwrap().contains("28P01").then_some(())
    });
    // What is served, while the store is in trouble.
    let said = service.stderr();
    let address = said.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    for path in ["/metrics", "/api/metrics", "/api/health", "/api/config", "/readyz", "/api/nothing", "/"] {
        let reply = Client::connect(address.parse().unwrap()).ask("GET", path, "", b"");
        assert!(!reply.body.is_empty(), "{path}");
        assert_clean(path, &reply.body);
    }
    // What it was started with, as everybody on the machine sees it.
    let mut own = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line).replace('\0', " ");
        if text.contains("vela.toml") || text.contains("postgres: vela") {
            assert_clean("the arguments of a process", &line);
            own += 1;
        }
    }
    assert!(own > 0);
    for path in files(&home.path("spool")).iter().chain([&log]) {
        assert_clean(&path.display().to_string(), &std::fs::read(path).unwrap());
    }
    admin.batch_execute(&format!("ALTER ROLE vela PASSWORD '{CANARY}'")).unwrap();
    eventually("all rows", || (rows(&mut admin) == 360).then_some(()));
    let ended = service.stop();
    assert_clean("standard error", ended.stderr.as_bytes());
    for path in files(&home.path("")) {
        assert_clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
    let mut settings = Settings::default();
    settings.store.url = url.parse().unwrap();
    assert_clean("the settings", format!("{settings:?} {}", settings.store.url).as_bytes());
}
