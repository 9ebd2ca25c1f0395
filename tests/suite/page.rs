//! The live page in a real Chromium, against a real `vela`: it fills and updates, says what hurts and that it is over,
//! outlives its server, can be read by everybody, and costs its reader little.

use crate::reexec::faulty;
use crate::serve_support::{Served, settings};
use crate::service_support::{Fed, Home, Service, Table, eventually, market};
use crate::support::axe;
use crate::support::chromium::Chromium;
use serde_json::json;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SYMBOLS: usize = 6;
/// What is there before the first start.
const MINUTES_BEFORE: usize = 100;

/// (theme, width, height): a desk by day and by night, a phone by day and by night.
const LOOKS: [(&str, u32, u32); 4] =
    [("light", 1400, 1000), ("dark", 1400, 1000), ("light", 390, 844), ("dark", 390, 844)];

/// A live market beside the service, a minute at a time.
struct Feed {
    table: Table,
    bars: std::vec::IntoIter<Fed>,
}

impl Feed {
    /// The next minute; when its bars opened, as the page writes it.
    fn minute(&mut self) -> String {
        let bars: Vec<Fed> = self.bars.by_ref().take(SYMBOLS).collect();
        self.table.feed(&bars);
        bars[0].1.ts.to_string().replace('T', " ").replace('Z', "")
    }
}

/// `vela run` as it is shipped, that can be told to hang.
fn start(home: &Home, address: &str) -> Service {
    let mut command = faulty(home, &[("HANG_FILE", home.path("hang").into())]);
    command.args(["--set", &format!("serve.listen={address}")]);
    let mut service = Service::start(home, &mut command);
    service.says("vela runs with");
    service
}

/// A minute comes, and the page shows it among the predictions.
fn shows_a_new_minute(page: &mut Chromium, feed: &mut Feed) {
    let minute = feed.minute();
    page.until(&format!("document.getElementById('feed').innerText.includes('{minute}')"));
}

/// What axe-core has against the page, in each of its looks.
fn violations(page: &mut Chromium, axe: &str) -> Vec<String> {
    let mut found = Vec::new();
    page.evaluate(axe);
    for (theme, width, height) in LOOKS {
        page.appears(theme, width, height);
        page.until(&format!(
            "innerWidth === {width} && matchMedia('(prefers-color-scheme: {theme})').matches"
        ));
        let wide = page.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
        if wide > width.into() {
            found.push(format!("{theme} {width}: {wide} pixels wide, one has to scroll sideways"));
        }
        page.shot(&format!("healthy-{theme}-{width}"));
        let said = page.evaluate(
            "axe.run().then(({ violations }) => violations.map(({ id, help, nodes }) => \
             `${id}: ${help}: ${nodes[0].html} ${nodes[0].failureSummary}`))",
        );
        found.extend(said.as_array().unwrap().iter().map(|one| format!("{theme} {width}: {one}")));
    }
    page.appears("light", 1400, 1000);
    found
}

#[test]
fn the_page_says_what_is_and_outlives_its_server() {
    let home = Home::new();
    // What the machine is short of is no matter of this test.
    home.configure(
        "source.path = \"vela.db\"\nhealth_check_interval = 1\nmodels.look_interval_ms = 50\n\
         [watchdog]\ninterval_ms = 20\nstall_restart_s = 4\ndrain_deadline_ms = 300\nrestart_pause_ms = 0\n\
         [alert.rules]\nstalled = { over = 1 }\n\
         disk = { enabled = false }\nlatency = { enabled = false }\n[predict]\nload_deadline_ms = 300\ndeadline_ms = 300\n",
    );
    let mut table = Table::create(&home.database());
    let mut bars = market(SYMBOLS, MINUTES_BEFORE + 1000);
    let live = bars.split_off(MINUTES_BEFORE * SYMBOLS);
    table.feed(&bars);
    let mut feed = Feed { table, bars: live.into_iter() };
    // Free a moment ago, and for the second start as well.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut service = start(&home, &address);
    let Some(mut page) = Chromium::open(&address) else { return };
    page.appears("light", 1400, 1000);
    // Gone with a page that is loaded anew: it must go on by itself.
    page.until("document.readyState === 'complete'");
    page.evaluate("window.since = 'the beginning'");

    // It fills.
    page.until("document.getElementById('status').innerText === 'healthy'");
    page.until("document.getElementById('verdict-title').innerText === 'All is well'");
    shows_a_new_minute(&mut page, &mut feed);
    page.until("document.querySelectorAll('#pipeline .stage').length === 4");
    page.until("document.querySelectorAll('#series li').length === 6");
    page.until("document.querySelectorAll('#symbols tbody tr').length === 6");
    page.until("document.querySelectorAll('#models tbody tr').length === 4");
    page.until("document.querySelector('#pipeline .rate').innerText.endsWith('/s')");
    // It updates.
    let before = page.text("bars-rate");
    eventually("the latency of live bars", || {
        shows_a_new_minute(&mut page, &mut feed);
        (page.text("latency-p99") != "–" && page.text("bars-rate") != before).then_some(())
    });
    page.until("document.getElementById('generation').innerText.includes('has not replaced itself')");
    if let Some(axe) = axe::script() {
        assert_eq!(violations(&mut page, &axe), Vec::<String>::new());
    }

    // Somebody promotes what cannot serve: the version before stands in, and the page says so until it is taken back.
    home.write("models/demo-1m-h1/9/model.onnx", "no graph");
    std::fs::copy(home.path("models/demo-1m-h1/2/model.toml"), home.path("models/demo-1m-h1/9/model.toml"))
        .unwrap();
    promote(&home, "2\n9\n");
    page.until("document.getElementById('verdict').className === 'degraded'");
    let reasons = page.text("reasons");
    assert!(reasons.contains("model fallback demo-1m-h1: version 2 serves; version 9 fails"), "{reasons}");
    page.until("document.getElementById('models').innerText.includes('newest fails')");
    page.shot("degraded");
    promote(&home, "2\n");
    page.until("document.getElementById('verdict').className === 'healthy'");
    page.until("document.getElementById('reasons').hidden");
    page.until("document.getElementById('told').innerText.includes('model_fallback cleared')");
    assert_eq!(page.problems(), Vec::<String>::new());

    // The disk hangs: the page says so, the process replaces itself, and the page goes on.
    std::fs::write(home.path("hang"), "").unwrap();
    feed.minute();
    page.until("document.getElementById('verdict').className === 'critical'");
    page.shot("critical");
    service.says("the drain is not waited for any longer");
    std::fs::remove_file(home.path("hang")).unwrap();
    page.until("document.getElementById('generation').innerText.includes('has replaced itself once')");
    let generation = page.text("generation");
    assert!(generation.contains("out of stalled: the persist stage"), "{generation}");
    page.until("document.getElementById('verdict').className === 'healthy'");
    shows_a_new_minute(&mut page, &mut feed);
    // What was under way failed as the process went; from here on nothing does.
    page.problems();
    shows_a_new_minute(&mut page, &mut feed);
    assert_eq!(page.problems(), Vec::<String>::new());

    // Killed, and started again by somebody.
    service.kill();
    page.until("document.getElementById('verdict').className === 'away'");
    page.shot("away");
    let mut service = start(&home, &address);
    page.until("document.getElementById('verdict').className === 'healthy'");
    shows_a_new_minute(&mut page, &mut feed);
    page.until("document.getElementById('generation').innerText.includes('has not replaced itself')");
    page.problems();
    shows_a_new_minute(&mut page, &mut feed);
    assert_eq!(page.problems(), Vec::<String>::new());
    assert_eq!(page.evaluate("window.since"), "the beginning");
    service.says("vela runs with");
}

/// By atomic rename, as a person should.
fn promote(home: &Home, versions: &str) {
    let new = home.write("models/demo-1m-h1/.promoted.new", versions);
    std::fs::rename(new, home.path("models/demo-1m-h1/promoted")).unwrap();
}

/// What a page of 500 series costs while each of them gets so many bars a second: of the processor time of its main thread,
/// in ms a second.
fn reading_500_series(bars_per_s: u32) -> Option<f64> {
    const MANY: usize = 500;
    let served = Served::with(settings());
    let mut bars = market(MANY, 70 + 600);
    let live = bars.split_off(70 * MANY);
    served.feed(&bars);
    let mut page = Chromium::open(&served.address().to_string())?;
    page.appears("light", 1400, 1000);
    let stop = AtomicBool::new(false);
    let predictions = || served.engine.metrics().performance.total_predictions;
    std::thread::scope(|scope| {
        // All 500 bars close in the same moment.
        scope.spawn(|| {
            for bars in live.chunks(MANY) {
                let next = Instant::now() + Duration::from_secs(1) / bars_per_s;
                served.feed(bars);
                while Instant::now() < next {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            assert!(stop.load(Ordering::Relaxed), "the market is over");
        });
        let measured = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            page.until("document.querySelectorAll('#symbols tbody tr').length === 50");
            page.until("document.getElementById('series-count').innerText === '24 of 500'");
            page.until("document.getElementById('latency-p99').innerText !== '–'");
            let (begin, task_s, came) = (Instant::now(), page.task_s(), predictions());
            let moments =
                json!({"expression": "new Promise((done) => setTimeout(done, 8000))", "awaitPromise": true});
            page.call("Runtime.evaluate", moments);
            let (seconds, task_s) = (begin.elapsed().as_secs_f64(), page.task_s() - task_s);
            let rate = (predictions() - came) as f64 / seconds;
            let ms_per_s = task_s * 1000.0 / seconds;
            println!(
                "{MANY} series, {rate:.0} predictions a second: {ms_per_s:.1} ms of main thread a second"
            );
            ms_per_s
        }));
        stop.store(true, Ordering::Relaxed);
        let ms_per_s = measured.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        page.shot(&format!("500-{bars_per_s}"));
        assert_eq!(page.problems(), Vec::<String>::new());
        Some(ms_per_s)
    })
}

#[test]
fn a_page_of_500_series_costs_its_reader_little_at_any_rate() {
    const BOUND: f64 = 100.0;
    // Each second, and about as fast as two cores predict.
    for bars_per_s in [1, 20] {
        let Some(ms_per_s) = reading_500_series(bars_per_s) else { return };
        assert!(ms_per_s < BOUND, "{ms_per_s:.1} ms of main thread a second, {BOUND} are allowed");
    }
}
