//! Rules of the machine: memory, processors, the file system.

use super::{alone, breaks, is_healthy, mends, settings};
use crossbeam::channel::{TryRecvError, bounded};
use vela::Engine;
use vela::config::Measure;

#[test]
fn memory_beyond_its_share_degrades_until_it_is_given_back() {
    if !alone("machine::memory_beyond_its_share_degrades_until_it_is_given_back") {
        return;
    }
    let mut settings = settings(&[(Measure::Memory, 50.0)]);
    let engine = Engine::start(settings.clone()).unwrap();
    let used_mb = engine.metrics().system.memory_usage_mb;
    engine.stop().unwrap();
    settings.max_memory_mb = 2 * (used_mb as u64 + 100);
    let engine = Engine::start(settings).unwrap();
    is_healthy(&engine);
    let mut block = vec![0_u8; 300 << 20];
    block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    breaks(&engine, "memory", "max_memory_mb");
    assert!(block.contains(&1));
    drop(block);
    mends(&engine, "memory", "max_memory_mb");
    is_healthy(&engine);
}

#[test]
fn busy_processors_degrade_until_they_rest() {
    if !alone("machine::busy_processors_degrade_until_they_rest") {
        return;
    }
    let engine = Engine::start(settings(&[(Measure::Cpu, 10.0)])).unwrap();
    is_healthy(&engine);
    let (stop, stopped) = bounded::<()>(0);
    let burn = || {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            std::hint::black_box((0..10_000_u64).sum::<u64>());
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(burn)));
        breaks(&engine, "cpu", "process");
        drop(stop);
    });
    mends(&engine, "cpu", "process");
    is_healthy(&engine);
}

#[test]
fn a_file_system_that_fills_up_degrades_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(folder.path()).output()
    };
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs"]);
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount a file system");
        return;
    }
    let mut settings = settings(&[(Measure::Disk, 50.0)]);
    settings.log.path = folder.path().join("logs/vela.log");
    let engine = Engine::start(settings).unwrap();
    is_healthy(&engine);
    std::fs::write(folder.path().join("large"), vec![1; 12 << 20]).unwrap();
    breaks(&engine, "disk", "log");
    std::fs::remove_file(folder.path().join("large")).unwrap();
    mends(&engine, "disk", "log");
    is_healthy(&engine);
    engine.stop().unwrap();
    mount(&["umount"]).unwrap();
}
