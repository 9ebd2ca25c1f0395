//! What HTTP costs, and what its clients cost the pipeline: `perf/http` and `perf/stream` run it.
//!
//! - `vela MODELS`: the engine's server over a folder of models, until its standard input ends;
//! - `bare MODEL`: around the same model nothing but a socket, `httparse`, and JSON: one thread a connection, each with a
//!   session of its own; what a server cannot be quicker than;
//! - `watched [CLIENTS]`: a pipeline under a steady load, in turn alone, with clients of the stream and the page, and beside a
//!   program that writes as much to as many;
//! - `clients ADDRESS CLIENTS KIND`, `feeder CLIENTS`: those clients and that program, processes of their own.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "http/clients.rs"]
mod clients;
#[path = "http/watched.rs"]
mod watched;

use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use serde::Deserialize;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use vela::config::{SourceKind, StoreUrl};
use vela::domain::Stability;
use vela::predict::Runtime;
use vela::serve::Server;
use vela::{Engine, Settings};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["vela", models] => vela(models),
        ["bare", model] => bare(model),
        ["watched"] => watched::run(200),
        ["watched", clients] => watched::run(clients.parse().unwrap()),
        ["clients", address, count, kind] => clients::clients(address, count.parse().unwrap(), kind),
        ["feeder", count] => clients::feeder(count.parse().unwrap()),
        _ => println!("perf/http and perf/stream run this: vela, bare or watched is to be said"),
    }
}

fn until_told() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn settings(models: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.models.path = models.to_owned();
    settings.source.kind = SourceKind::None;
    settings.store.url = StoreUrl::None;
    // Whose predictions come, not how exact they are.
    settings.feature.warm_up = Stability::Defined;
    settings
}

fn serve(engine: &Arc<Engine>) -> Server {
    Server::start_on(engine, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
}

fn vela(models: &str) {
    let engine = Arc::new(Engine::start(settings(Path::new(models))).unwrap());
    let server = serve(&engine);
    println!("{}", server.address());
    until_told();
}

#[derive(Deserialize)]
struct Asked {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    data: Vec<f32>,
}

fn bare(model: &str) {
    let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let model = model.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let model = model.clone();
            std::thread::spawn(move || drop(bare_connection(stream.unwrap(), runtime, &model)));
        }
    });
    until_told();
}

fn bare_connection(mut stream: TcpStream, runtime: &Runtime, model: &str) -> std::io::Result<()> {
    let builder = SessionBuilder::new(runtime.environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap().with_inter_threads(1).unwrap();
    let builder = builder.with_intra_op_spinning(false).unwrap().with_memory_pattern(false).unwrap();
    let mut builder = builder;
    let mut session = builder.commit_from_file(model).unwrap();
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    let (mut out, mut body) = (Vec::new(), Vec::new());
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let head = match request.parse(&buffer[..filled]).unwrap() {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial => {
                match stream.read(&mut buffer[filled..])? {
                    0 => return Ok(()),
                    read => filled += read,
                }
                continue;
            }
        };
        let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length: usize = std::str::from_utf8(length.unwrap().value).unwrap().parse().unwrap();
        if filled < head + length {
            filled += stream.read(&mut buffer[filled..])?;
            continue;
        }
        let asked: Asked = serde_json::from_slice(&buffer[head..head + length]).unwrap();
        let row = &asked.inputs[0].data;
        let input = TensorRef::from_array_view(([1, row.len()], row.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![input]).unwrap();
        let (_, values) = outputs[0].try_extract_tensor::<f32>().unwrap();
        body.clear();
        write!(
            body,
            "{{\"model_name\":\"trees\",\"model_version\":\"1\",\"outputs\":[{{\"name\":\"y\",\"datatype\":\"FP32\",\
             \"shape\":[1,1],\"data\":[{:?}]}}]}}",
            values[0]
        )?;
        out.clear();
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        out.extend_from_slice(&body);
        stream.write_all(&out)?;
        buffer.copy_within(head + length..filled, 0);
        filled -= head + length;
    }
}
