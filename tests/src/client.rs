//! A small HTTP/1.1 client over one kept connection: what load generators need, and no more. Reads answers with a
//! content length or in chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A client of one server.
pub struct Client {
    address: String,
    headers: String,
    connection: Option<BufReader<TcpStream>>,
    timeout: Duration,
}

impl Client {
    /// For `http://HOST:PORT`.
    pub fn new(url: &str) -> Client {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Client {
            address,
            headers: String::new(),
            connection: None,
            timeout: Duration::from_secs(60),
        }
    }

    /// Sends a header with every request.
    pub fn with_header(mut self, name: &str, value: &str) -> Client {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// How long one read or write may take.
    pub fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.request("GET", path, "", &[])
    }

    /// POST of JSON.
    pub fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.request(
            "POST",
            path,
            "Content-Type: application/json\r\n",
            body.to_string().as_bytes(),
        )
    }

    /// POST of bytes with a content type.
    pub fn post_bytes(&mut self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.request("POST", path, &format!("Content-Type: {kind}\r\n"), body)
    }

    /// Any request. A connection that the server closed meanwhile is opened again only if nothing was sent yet: a
    /// request is never sent twice behind the caller's back.
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{}{headers}\r\n",
            self.address,
            body.len(),
            self.headers
        );
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        let sent = connection.get_mut().write_all(&message);
        // A server may refuse a large body before it has read all of it: its answer counts.
        let answer = read_answer(&mut connection, method == "HEAD");
        let answer = match (sent, answer) {
            (_, Ok(answer)) => answer,
            (Err(error), Err(_)) => return Err(error).context("send"),
            (Ok(()), Err(error)) => return Err(error),
        };
        if answer
            .header("connection")
            .is_none_or(|value| !value.eq_ignore_ascii_case("close"))
        {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// Opens `GET path` and gives the lines of the answer as they come (server-sent events).
    pub fn follow(&mut self, path: &str, headers: &str) -> anyhow::Result<Lines> {
        let mut connection = self.connect()?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{}{headers}\r\n",
            self.address, self.headers
        );
        connection.get_mut().write_all(head.as_bytes())?;
        let (status, _) = read_head(&mut connection)?;
        anyhow::ensure!(status == 200, "following {path} was answered {status}");
        Ok(Lines { connection })
    }

    fn connect(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address).with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::with_capacity(64 * 1024, stream))
    }
}

/// Opens a connection, sends bytes as they are, and leaves the rest to the caller.
pub fn send_raw(url: &str, bytes: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://").trim_end_matches('/'))?;
    stream.set_nodelay(true)?;
    stream.write_all(bytes)?;
    Ok(stream)
}

/// Everything a connection says until it is closed; an error if it stays open for so long.
pub fn read_to_end(mut stream: TcpStream, within: Duration) -> anyhow::Result<String> {
    let (end, mut said) = (Instant::now() + within, Vec::new());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        anyhow::ensure!(
            !left.is_zero(),
            "still open after {within:?}: {}",
            String::from_utf8_lossy(&said)
        );
        stream.set_read_timeout(Some(left))?;
        let mut part = [0u8; 4096];
        match stream.read(&mut part) {
            Ok(0) => return Ok(String::from_utf8_lossy(&said).into_owned()),
            Ok(read) => said.extend_from_slice(&part[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Ok(String::from_utf8_lossy(&said).into_owned());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The lines of a stream that does not end.
pub struct Lines {
    connection: BufReader<TcpStream>,
}

impl Lines {
    /// Waits for a line that `wanted` accepts, and answers it. Chunk sizes look like lines and are passed over by
    /// whoever looks for field names.
    pub fn wait_for(&mut self, within: Duration, mut wanted: impl FnMut(&str) -> bool) -> anyhow::Result<String> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            self.connection
                .get_mut()
                .set_read_timeout(Some(Duration::from_millis(200)))?;
            let mut line = String::new();
            match self.connection.read_line(&mut line) {
                Ok(0) => bail!("the stream ended"),
                Ok(_) if wanted(line.trim_end()) => return Ok(line.trim_end().to_owned()),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("no such line within {within:?}")
    }
}

fn read_head(connection: &mut BufReader<TcpStream>) -> anyhow::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    connection.read_line(&mut line).context("read the status line")?;
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_lowercase(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_answer(connection: &mut BufReader<TcpStream>, head_only: bool) -> anyhow::Result<Answer> {
    let (status, headers) = read_head(connection)?;
    let find = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let mut body = Vec::new();
    if head_only {
    } else if find("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let mut size = String::new();
            connection.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).context("chunk size")?;
            let start = body.len();
            body.resize(start + size, 0);
            connection.read_exact(&mut body[start..])?;
            let mut end = String::new();
            connection.read_line(&mut end)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = find("content-length") {
        body.resize(length.parse().context("content length")?, 0);
        connection.read_exact(&mut body)?;
    }
    Ok(Answer { status, headers, body })
}
