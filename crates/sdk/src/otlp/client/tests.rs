use super::*;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::sync::mpsc;

const LONG: Duration = Duration::from_secs(30);

/// Takes connections one after the other; each serves requests with the answers in its list, and is closed after them.
fn serve(connections: Vec<Vec<&'static str>>) -> (Client, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new("127.0.0.1", listener.local_addr().unwrap().port(), None);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, answers) in connections.into_iter().enumerate() {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            for answer in answers {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if line == "\r\n" {
                        break;
                    }
                    length = line.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
                sender.send(number).unwrap();
            }
        }
    });
    (client, receiver)
}

fn post(client: &mut Client) -> Result<Answer, Failure> {
    client.post(&PathAndQuery::from_static("/v1/traces"), b"host: x\r\n", b"body", Some(LONG))
}

#[test]
fn answers_of_every_form_are_read_and_the_connection_is_kept_where_it_can_be() {
    let (mut client, served) = serve(vec![
        vec![
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nRetry-After: 7\r\ntransfer-encoding: chunked\r\n\r\n1\r\nc\r\n2;x=y\r\nde\r\n0\r\nt: u\r\n\r\n",
            "HTTP/1.1 204 None\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        ],
        vec!["HTTP/1.0 400 Bad\r\n\r\nuntil the end"],
        vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
    ]);
    for (status, body) in [(200, "ab"), (503, "cde"), (204, ""), (200, ""), (400, "until the end"), (200, "")] {
        let answer = post(&mut client).unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.body), (status, body.as_bytes()));
        assert_eq!(answer.headers.get("retry-after").is_some(), status == 503);
    }
    assert_eq!(served.iter().take(6).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 2]);
}

#[test]
fn a_connection_that_was_closed_in_the_meantime_is_replaced() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (mut client, served) = serve(vec![vec![answer], vec![answer]]);
    for expected in 0..2 {
        assert_eq!(post(&mut client).unwrap().status, 200);
        assert_eq!(served.recv_timeout(LONG), Ok(expected));
    }
}

#[test]
fn what_is_no_answer_is_a_failure() {
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20).leak();
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70_000)).leak();
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        "",
        endless,
        long,
    ] {
        let (mut client, _served) = serve(vec![vec![answer]]);
        let failure = post(&mut client).unwrap_err();
        assert!(!failure.is_unreachable, "{failure:?}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_cut_and_its_connection_not_used_again() {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000)).leak();
    let (mut client, _served) = serve(vec![vec![answer]]);
    assert_eq!(post(&mut client).unwrap().body.len(), 64 << 10);
    assert!(client.kept.is_none());
}

#[test]
fn a_receiver_that_refuses_before_it_has_read_everything_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new("127.0.0.1", listener.local_addr().unwrap().port(), None);
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut some = [0; 1000];
        socket.read_exact(&mut some).unwrap();
        socket.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        // Not closed before the other side is done, for that would take the answer away.
        std::io::copy(&mut socket, &mut std::io::sink()).ok();
    });
    let answer = client.post(&PathAndQuery::from_static("/"), b"", &vec![0; 1 << 20], Some(LONG)).unwrap();
    assert_eq!(answer.status.as_u16(), 413);
    drop(client);
    server.join().unwrap();
}

#[test]
fn nobody_there_and_nobody_answering_are_told_apart() {
    let failure = post(&mut Client::new("127.0.0.1", 1, None)).unwrap_err();
    assert!(failure.is_unreachable && failure.reason.contains("127.0.0.1:1"), "{failure:?}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new("127.0.0.1", silent.local_addr().unwrap().port(), None);
    let target = PathAndQuery::from_static("/");
    let failure = client.post(&target, b"", b"", Some(Duration::from_millis(1))).unwrap_err();
    assert!(!failure.is_unreachable && failure.reason.contains("timed out"), "{failure:?}");
}
