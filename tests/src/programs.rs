//! The programs behind and before the nodes: nginx, Python, PostgreSQL, curl, tcpdump. Each is started in the foreground
//! with files in a scratch directory, and ended by its own id.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::http;
use crate::loopback::free_port;
use crate::process::Process;
use crate::wait::until_true;

/// How long a program may take to listen: PostgreSQL on a loaded machine is the slowest of them.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);

/// A server that was started for a test.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    end: &'static str,
}

impl Drop for Server {
    /// Asks it to end, because a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        self.process.end_by(self.end);
    }
}

impl Server {
    /// A process that was just started and will listen on this port; it is asked to end by SIGTERM.
    pub fn listening(process: Process, port: u16) -> Self {
        Self::ended_by("TERM", process, port)
    }

    fn ended_by(end: &'static str, mut process: Process, port: u16) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        until_true(&format!("port {port}"), LISTEN_LIMIT, || {
            assert!(process.ended().is_none(), "ended early:\n{}", process.stderr.all().join("\n"));
            TcpStream::connect(at).is_ok()
        });
        Self { process, port, end }
    }

    /// nginx that answers every GET with 200 and `reply`.
    pub fn nginx(folder: &Path, reply: &str) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let config = folder.join(format!("nginx-{port}.conf"));
        let at = folder.display();
        let text = format!(
            "worker_processes 1; daemon off; pid {at}/nginx-{port}.pid; error_log stderr error;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 1000000; keepalive_timeout 600s;\n\
             client_body_temp_path {at}/body-{port}; proxy_temp_path {at}/proxy-{port};\n\
             fastcgi_temp_path {at}/fastcgi-{port}; uwsgi_temp_path {at}/uwsgi-{port}; scgi_temp_path {at}/scgi-{port};\n\
             server {{ listen 127.0.0.1:{port}; location / {{ default_type text/plain; return 200 \"{reply}\"; }} }} }}\n"
        );
        fs::write(&config, text).expect("the scratch directory is writable");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "stderr"]);
        Self::listening(Process::start("nginx", &mut command), port)
    }

    /// The application of `programs/app.py`, which names itself `name` in its replies.
    pub fn app(name: &str) -> Self {
        Self::app_at(name, free_port(Ipv4Addr::LOCALHOST))
    }

    /// [`Server::app`] on a chosen port.
    pub fn app_at(name: &str, port: u16) -> Self {
        Self::app_told(name, port, &[])
    }

    /// [`Server::app`] that behaves as these words say, such as `--slow 2`.
    pub fn app_that(name: &str, words: &[&str]) -> Self {
        Self::app_told(name, free_port(Ipv4Addr::LOCALHOST), words)
    }

    /// The TCP echo of `programs/app.py`: sends back what it gets, after a line with its name.
    pub fn echo(name: &str) -> Self {
        Self::app_that(name, &["--tcp"])
    }

    fn app_told(name: &str, port: u16, words: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/app.py");
        let mut command = Command::new("python3");
        command.arg("-u").arg(script).arg(name).arg(port.to_string()).args(words);
        Self::listening(Process::start(name, &mut command), port)
    }

    /// `python3 -m http.server` over `folder`.
    pub fn python(folder: &Path) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(folder);
        Self::listening(Process::start("http.server", &mut command), port)
    }

    /// nghttpd over `folder`: HTTP/2 without TLS, with a trailer as gRPC sends one.
    pub fn nghttpd(folder: &Path) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let mut command = Command::new("nghttpd");
        command.arg("--no-tls").arg("--address=127.0.0.1").arg("--trailer").arg("grpc-status: 0");
        command.arg("-d").arg(folder).arg(port.to_string());
        Self::listening(Process::start("nghttpd", &mut command), port)
    }

    /// A new PostgreSQL with a user `app` whose password is `secret`.
    pub fn postgres(folder: &Path) -> Self {
        let port = free_port(Ipv4Addr::LOCALHOST);
        let home = folder.join("postgres");
        fs::create_dir_all(&home).expect("the scratch directory is writable");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&home));
        }
        let data = home.join("data");
        let password = home.join("password");
        fs::write(&password, "secret\n").expect("the scratch directory is writable");
        let mut init = as_postgres(&postgres_program("initdb"));
        init.args(["--username=app", "--auth=scram-sha-256", "--no-sync"]);
        init.arg(format!("--pwfile={}", password.display())).arg("-D").arg(&data).current_dir("/");
        run(&mut init);
        let mut command = as_postgres(&postgres_program("postgres"));
        command
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-k"])
            .arg(&home);
        // Its fast end; at SIGTERM it would wait for its clients.
        Self::ended_by("INT", Process::start("postgres", command.current_dir("/")), port)
    }
}

/// tcpdump on the loopback interface, into a file.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Captures every packet to or from `address` and the port between nodes.
    pub fn start(folder: &Path, filter: &str) -> Self {
        let file = folder.join("capture.pcap");
        let mut command = Command::new("tcpdump");
        // Immediate: by default the kernel hands packets over in blocks, and one that is not full yet is lost at the end.
        command
            .args(["-i", "lo", "--immediate-mode", "-U", "-s", "0", "-B", "65536", "-Z", "root", "-w"])
            .arg(&file)
            .arg(filter);
        let process = Process::start("tcpdump", &mut command);
        until_true("tcpdump to listen", LISTEN_LIMIT, || {
            process.stderr.all().iter().any(|line| line.contains("listening on"))
        });
        Self { process, file }
    }

    /// Ends the capture and returns its bytes.
    pub fn stop(mut self) -> Vec<u8> {
        self.process.signal("INT");
        self.process.wait(LISTEN_LIMIT);
        fs::read(&self.file).expect("tcpdump wrote its file")
    }
}

/// Runs a program and returns its output; panics where it fails.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{told}", output.status);
    output
}

/// Runs a program and returns what it printed; panics where it fails.
pub fn output_of(command: &mut Command) -> String {
    String::from_utf8_lossy(&run(command).stdout).into_owned()
}

/// Whether the tests run as root, as they do in a container.
pub fn is_root() -> bool {
    output_of(Command::new("id").arg("-u")).trim() == "0"
}

/// Connects to a bound port and returns the stream with a read timeout.
pub fn dial(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout above zero");
    stream
}

/// Sends `bytes` and reads as many back.
pub fn echo(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    Ok(back)
}

/// A WebSocket through `proxy` to the echo at `/ws` of the service.
#[derive(Debug)]
pub struct WebSocket(http::Connection);

impl WebSocket {
    /// Opens it (RFC 6455, section 4.1).
    pub fn open(proxy: SocketAddr, host: &str) -> Self {
        let mut connection = http::Connection::open(proxy).expect("the outbound port listens");
        let request = format!(
            "GET /ws HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.write(request.as_bytes()).expect("the request is sent");
        let head = connection.read_head().expect("an answer");
        assert_eq!(head.status, 101, "{head:?}");
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head:?}");
        Self(connection)
    }

    /// Sends a text message and reads the echo.
    pub fn echo(&mut self, text: &str) -> std::io::Result<String> {
        let len = u8::try_from(text.len()).ok().filter(|len| *len < 126).expect("a short message");
        let mask = [0x11, 0x22, 0x33, 0x44];
        let mut frame = vec![0x81, 0x80 | len];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write(&frame)?;
        let head = self.0.read_exact(2)?;
        let body = self.0.read_exact(usize::from(head[1] & 0x7f))?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

fn postgres_program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.is_file());
    found.map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
    command
}
