//! Faults under load: the server dies, the connection is cut or falls silent, vela is killed, the disk is full. In the
//! end every bar has its outcomes once, bit for bit those of `vela replay`.
//!
//! The full sizes: `VELA_FAULT_RESTARTS=20`, `VELA_FAULT_BOTH=20`, `VELA_FAULT_CUTS=20`, `VELA_FAULT_KILLS=200`;
//! `VELA_FAULT_SEED` repeats a run.

mod scene;

use crate::service_support::{Home, LIMIT, Service, eventually};
use crate::support::Random;
use scene::{Scene, number};
use std::process::Command;
use std::time::{Duration, Instant};

/// "Within seconds", on a machine that may be loaded five times over.
const SECONDS: Duration = Duration::from_secs(20);

fn seed() -> u64 {
    let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as usize;
    let seed = number("VELA_FAULT_SEED", time);
    println!("VELA_FAULT_SEED={seed}");
    seed as u64
}

fn sleep_up_to(random: &mut Random, most_ms: u64) {
    std::thread::sleep(Duration::from_micros(random.below(most_ms * 1000)));
}

#[test]
fn the_server_is_restarted_and_killed_under_load() {
    let Some(scene) = Scene::new("") else { return };
    let mut random = Random(seed());
    let service = scene.run();
    let feed = scene.feed(400, random.below(u64::MAX));
    let log = scene.cluster.log();
    for round in 0..number("VELA_FAULT_RESTARTS", 4) {
        let before = scene.outcomes();
        sleep_up_to(&mut random, 600);
        match round % 4 {
            0 | 2 => {
                scene.cluster.kill();
                sleep_up_to(&mut random, 600);
                scene.cluster.ctl(&["start", "-w", "-l", &log]);
            }
            1 => scene.cluster.ctl(&["restart", "-w", "-m", "fast", "-l", &log]),
            _ => scene.cluster.ctl(&["restart", "-w", "-m", "immediate", "-l", &log]),
        }
        eventually("rows after the server was back", || (scene.outcomes() > before).then_some(()));
    }
    let bars = feed.stop();
    scene.check(&bars);
    scene.spool_drains();
    service.stop();
}

#[test]
fn the_connection_is_cut_and_falls_silent_under_load() {
    let Some(scene) = Scene::new("") else { return };
    let mut random = Random(seed());
    let service = scene.run();
    let feed = scene.feed(400, random.below(u64::MAX));
    for round in 0..number("VELA_FAULT_CUTS", 4) {
        let before = scene.outcomes();
        eventually("rows", || (scene.outcomes() > before).then_some(()));
        let silent = round % 2 == 0;
        if silent {
            scene.proxy.black_hole()
        } else {
            scene.proxy.cut()
        }
        let noticed = scene.spool_fills();
        // It goes on: more and more rows wait.
        let waiting = scene.spool_bytes();
        eventually("more rows in the spool", || (scene.spool_bytes() > waiting).then_some(()));
        assert!(noticed < SECONDS, "noticed only after {noticed:?}");
        sleep_up_to(&mut random, 2500);
        scene.proxy.pass();
        let drained = scene.spool_drains();
        println!(
            "{}: noticed after {noticed:?}, drained after {drained:?}",
            if silent { "silent" } else { "cut" }
        );
    }
    let bars = feed.stop();
    scene.check(&bars);
    service.stop();
}

#[test]
fn vela_is_killed_while_the_spool_fills_and_drains() {
    let Some(scene) = Scene::new("") else { return };
    let mut random = Random(seed());
    let feed = scene.feed(120, random.below(u64::MAX));
    let (mut filling, begin) = (0, Instant::now());
    let kills = number("VELA_FAULT_KILLS", 10);
    for round in 0..kills {
        if round % 5 != 0 {
            scene.proxy.pass();
        }
        let mut service = scene.home.spawn_run();
        let running = |service: &mut Service| {
            service.says("vela runs with");
            let before = scene.outcomes();
            eventually("rows", || (scene.outcomes() > before).then_some(()));
        };
        match round % 5 {
            // Anywhere in the start; the server may be away.
            0 => sleep_up_to(&mut random, 700),
            1 => {
                running(&mut service);
                scene.proxy.cut();
                scene.spool_fills();
                sleep_up_to(&mut random, 200);
            }
            2 => {
                running(&mut service);
                scene.proxy.cut();
                scene.spool_fills();
                sleep_up_to(&mut random, 500);
                scene.proxy.pass();
                sleep_up_to(&mut random, 150);
            }
            3 => {
                running(&mut service);
                scene.proxy.black_hole();
                sleep_up_to(&mut random, 1500);
            }
            // In the drain of a start, or under load.
            _ => sleep_up_to(&mut random, 1200),
        }
        service.kill();
        filling += usize::from(scene.spool_bytes() > 0);
    }
    println!("{kills} kills in {:?}, {filling} of them with rows in the spool", begin.elapsed());
    assert!(kills < 5 || filling > 0);
    scene.proxy.pass();
    let service = scene.run();
    let bars = feed.stop();
    scene.check(&bars);
    scene.spool_drains();
    service.stop();
}

#[test]
fn the_server_and_vela_are_killed_together() {
    let Some(scene) = Scene::lazy() else { return };
    let mut random = Random(seed());
    let feed = scene.feed(150, random.below(u64::MAX));
    let (mut lost, rounds) = (0, number("VELA_FAULT_BOTH", 4));
    for round in 0..rounds {
        let service = scene.run();
        let before = scene.outcomes();
        eventually("rows", || (scene.outcomes() > before).then_some(()));
        sleep_up_to(&mut random, 900);
        let seen = scene.outcomes();
        if round % 2 == 0 {
            scene.cluster.kill();
            service.kill();
        } else {
            service.kill();
            scene.cluster.kill();
        }
        scene.cluster.ctl(&["start", "-w", "-l", &scene.cluster.log()]);
        lost += (seen - scene.outcomes()).max(0);
    }
    println!("{lost} rows that could be seen were lost in {rounds} crashes");
    assert!(lost > 0, "nothing was ever lost: this shows nothing");
    let service = scene.run();
    let bars = feed.stop();
    scene.check(&bars);
    // A clean stop leaves nothing that a crash behind it could take.
    service.stop();
    scene.cluster.kill();
    scene.cluster.ctl(&["start", "-w", "-l", &scene.cluster.log()]);
    scene.check(&bars);
}

/// A file system of its own for the spool, where this user may make one; it is gone with the test.
struct SmallDisk(String);

impl SmallDisk {
    fn mount(path: String, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs", &path]).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(path))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options, &self.0]).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn the_disk_of_the_spool_is_full() {
    let short = "ingest.queue_bars_max = 50\nfeature.queue_bars_max = 50\npredict.queue_rows_max = 50\npersist.queue_rows_max = 50\n";
    let Some(scene) = Scene::new(short) else { return };
    let disk = SmallDisk::mount(scene.path("spool").display().to_string(), "200k");
    let mut service = match &disk {
        Some(_) => scene.home.spawn_run(),
        None => {
            println!("no file system of its own: the size of vela's files is limited instead");
            let program = env!("CARGO_BIN_EXE_vela");
            let script = format!("trap '' XFSZ; ulimit -f 400; exec {program} run --config vela.toml");
            let mut command = Command::new("sh");
            command.args(["-c", &script]).current_dir(scene.path("."));
            Service::start(&scene.home, &mut command)
        }
    };
    service.says("vela runs with");
    let feed = scene.feed(400, seed());
    eventually("rows", || (scene.outcomes() > 0).then_some(()));
    scene.proxy.cut();
    // Loud: on the terminal as well as in the log.
    service.says(if disk.is_some() { "No space left on device" } else { "File too large" });
    // It waits, and holds no more than its queues do.
    let full = scene.spool_bytes();
    std::thread::sleep(Duration::from_millis(500));
    assert!(scene.spool_bytes() <= full.max(200 * 1024));
    if let Some(disk) = &disk {
        disk.resize("8m");
        eventually("more rows in the spool", || (scene.spool_bytes() > 300 * 1024).then_some(()));
    }
    scene.proxy.pass();
    scene.spool_drains();
    let bars = feed.stop();
    scene.check(&bars);
    service.stop();
}

#[test]
fn a_database_that_is_away_is_waited_for_and_the_wait_can_be_ended() {
    let home = Home::bare();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.write(
        "vela.toml",
        format!(
            "store.url = \"postgres://vela@127.0.0.1:{closed}/x\"\nsource.kind = \"none\"\nmodels.path = \"{}\"\n\
             log.path = \"vela.log\"\n",
            crate::service_support::MODELS
        ),
    );
    for (signal, code) in [("INT", 130), ("TERM", 130)] {
        let mut service = home.spawn_run();
        service.says("waiting for the store");
        let begin = Instant::now();
        service.signal(signal);
        let ended = service.ended();
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(begin.elapsed() < LIMIT / 4, "{:?}", begin.elapsed());
    }
}
