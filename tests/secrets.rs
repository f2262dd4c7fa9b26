//! The owner's secrets stay with the owner, and each group with itself.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::api::{Act, Api};
use support::special::in_a_network_of_its_own;
use support::{Client, Home};

const KEY: &str = "sk-ant-api03-KEY-OF-THE-TEST-5f0d1c";

/// Lists where `needle` can be found by a process: its and others' environments
/// and command lines, every file that is not the system's, and what is mounted.
/// The needle comes in two halves so that the search does not find itself.
fn search(needle: &str) -> String {
    let (a, b) = needle.split_at(needle.len() / 2);
    format!(
        "n='{a}''{b}'; \
         for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/[0-9]*/maps /proc/self/mountinfo; do \
           tr '\\0' '\\n' < $f 2>/dev/null | grep -qF \"$n\" && echo \"FOUND $f\"; done; \
         env | grep -qF \"$n\" && echo 'FOUND env'; \
         for d in /* /.[!.]*; do case $d in /proc|/sys|/usr|/lib*|/bin|/sbin) ;; *) \
           grep -rslF \"$n\" \"$d\" 2>/dev/null | sed 's/^/FOUND /' ;; esac; done; echo SEARCHED"
    )
}

/// Every file below `directory` that holds `needle`.
fn holders(directory: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(path) = todo.pop() {
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(needle.len()).any(|w| w == needle.as_bytes()) {
                found.push(path.strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    found
}

#[test]
fn the_key_reaches_the_model_and_nothing_else() {
    let Some(mut home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Bash(search(KEY)));
    let settings = format!("ANTHROPIC_API_KEY={KEY}\nANTHROPIC_BASE_URL={}\n", api.url());
    std::fs::write(home.path().join(".env"), settings).unwrap();
    home.set("LOG_LEVEL", "trace");
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    let text = "a text that no log may hold 8d1f";
    client.message("t:1", "m", text);
    let answer = client.answer("t:1", "SEARCHED");
    assert!(!answer.contains("FOUND"), "{answer}");

    let asked = api.asked();
    let questions: Vec<_> =
        asked.iter().filter(|a| a.head.starts_with("POST /v1/messages")).collect();
    assert!(questions.len() >= 2, "{}", questions.len());
    for asked in &asked {
        let credentials: Vec<&str> = asked
            .head
            .lines()
            .filter(|l| {
                let name = l.split(':').next().unwrap().to_ascii_lowercase();
                name == "x-api-key" || name == "authorization"
            })
            .collect();
        assert_eq!(credentials.len(), 1, "{}", asked.head);
        assert_eq!(credentials[0].split_once(':').unwrap().1.trim(), KEY);
        assert!(!asked.body.to_string().contains(KEY));
    }
    // The search finds what is there: the same one, for the placeholder that the
    // agent does have.
    api.act(Act::Bash("echo \"PLACEHOLDER=$ANTHROPIC_API_KEY.\"".into()));
    client.message("t:1", "n", "which key?");
    let answer = client.answer("t:1", "PLACEHOLDER=");
    let placeholder =
        answer.split("PLACEHOLDER=").nth(1).unwrap().split('.').next().unwrap().to_owned();
    assert!(placeholder.len() >= 32 && placeholder != KEY, "{answer}");
    api.act(Act::Bash(search(&placeholder).replace("SEARCHED", "AGAIN")));
    client.message("t:1", "o", "and where?");
    let answer = client.answer("t:1", "AGAIN");
    assert!(answer.contains("FOUND env") && answer.contains("FOUND /proc/"), "{answer}");
    let heads: String = api.asked().iter().map(|a| a.head.clone()).collect();
    assert!(!heads.contains(&placeholder), "the placeholder left the machine");

    assert_eq!(daemon.stop(), 0);
    assert_eq!(holders(home.path(), KEY), [".env"]);
    let log = home.log();
    assert!(
        log.contains("ready")
            && !log.contains(text)
            && !log.contains(KEY)
            && !log.contains("which key?"),
        "{log}"
    );
    let with_text = holders(home.path(), text);
    assert!(with_text.iter().any(|f| f.starts_with("store/")), "{with_text:?}");
    assert!(
        with_text.iter().all(|f| f.starts_with("store/") || f.starts_with("data/sessions/family/")),
        "{with_text:?}"
    );
}

#[test]
fn a_log_at_its_loudest_holds_no_text() {
    let mut home = Home::new();
    home.set("LOG_LEVEL", "trace");
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "say:word-of-the-agent and word-of-the-person");
    client.answer("t:1", "word-of-the-agent");
    client.message("t:1", "n", "crash word-of-the-person");
    client.answer("t:1", "I could not answer");
    client.write_bytes(b"word-of-the-person is no JSON\n");
    client.write_bytes(b"{\"type\":\"word-of-the-person\"}\n");
    client.message("t:1", "o", "the end");
    client.answer("t:1", "the end");
    assert_eq!(daemon.stop(), 0);
    let log = home.log();
    assert!(log.contains("DEBUG"), "{log}");
    assert!(!log.contains("word-of-the-"), "{log}");
}

#[test]
fn a_group_sees_itself_and_nobody_else() {
    // What an agent could find, written by a program in its place.
    let words = ["in-family", "in-other", "in-main", "of-the-ledger", "of-the-owner", KEY];
    let searches: String = (0..words.len())
        .map(|n| format!("( {} ) | sed 's/^/{n} /' >> /workspace/group/.seen\n", search(words[n])))
        .collect();
    let mut home =
        Home::scripted(&format!("{searches}mv /workspace/group/.seen /workspace/group/seen"));
    home.set("ANTHROPIC_API_KEY", KEY);
    std::fs::write(home.path().join(".env"), "# of-the-owner\n").unwrap();
    std::fs::create_dir_all(home.path().join(".ssh")).unwrap();
    std::fs::write(home.path().join(".ssh/id"), "of-the-owner").unwrap();
    for (folder, jid) in [("family", "t:1"), ("other", "t:2")] {
        home.add_group(folder, jid);
    }
    assert_eq!(home.run(&["groups", "list"]).0, 0);
    for folder in ["family", "other", "main"] {
        for place in ["groups/FOLDER", "data/sessions/FOLDER/.claude"] {
            let place = home.path().join(place.replace("FOLDER", folder));
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("mark"), format!("in-{folder}")).unwrap();
        }
    }
    let _daemon = home.start();
    let client = Client::connect(&home, "t:");
    // While the other's container lives, with its text in mailbox and ledger.
    client.message("t:2", "m", "of-the-ledger and in-other");
    client.answer("t:2", "of-the-ledger");
    client.message("t:1", "m", "hello");
    client.answer("t:1", "hello");
    for (folder, own) in [("family", "in-family"), ("other", "in-other")] {
        let seen =
            std::fs::read_to_string(home.path().join("groups").join(folder).join("seen")).unwrap();
        assert_eq!(seen.matches("SEARCHED").count(), words.len(), "{seen}");
        for line in seen.lines().filter(|l| l.contains("FOUND")) {
            let (word, place) = line.split_once(" FOUND ").unwrap();
            let word = words[word.parse::<usize>().unwrap()];
            // What it was asked is before the other group, which was asked first.
            let asked = folder == "other" && place.starts_with("/workspace/ipc/in/");
            assert!(word == own || asked, "{folder} finds {word} in {place}");
        }
        let own = words.iter().position(|w| *w == own).unwrap();
        for place in ["/workspace/group/mark", "/home/node/.claude/mark"] {
            assert!(
                seen.contains(&format!("{own} FOUND {place}")),
                "the search finds nothing: {seen}"
            );
        }
    }
}

/// A counter of this network, such as `Tcp`, `ActiveOpens`.
fn counter(protocol: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    let prefix = format!("{protocol}: ");
    let mut lines = text.lines().filter_map(|l| l.strip_prefix(&prefix));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|n| n == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn nothing_but_the_model_is_connected_to_and_no_name_is_looked_up() {
    if in_a_network_of_its_own("nothing_but_the_model_is_connected_to_and_no_name_is_looked_up") {
        return;
    }
    let Some(mut home) = Home::with_real_cli() else { return };
    let names = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
    let api = Api::start(Act::Bash("echo ran".into()));
    home.set("ANTHROPIC_API_KEY", KEY);
    home.set("ANTHROPIC_BASE_URL", &api.url());
    home.add_group("family", "t:1");
    let (opened, sent) = (counter("Tcp", "ActiveOpens"), counter("Udp", "OutDatagrams"));
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "hello");
    client.answer("t:1", "after: ran");
    // What a program does on the side it does soon after its start.
    support::pause(std::time::Duration::from_secs(5));
    assert!(api.connections() > 0);
    assert_eq!(
        counter("Tcp", "ActiveOpens") - opened,
        api.connections() as u64,
        "others were connected to"
    );
    assert_eq!(counter("Udp", "OutDatagrams") - sent, 0, "a name was looked up");
    assert_eq!(daemon.stop(), 0);
    names.set_nonblocking(true).unwrap();
    assert!(names.recv(&mut [0; 512]).is_err(), "a name was looked up");
    // The counters count: a name and an address elsewhere.
    let (opened, sent) = (counter("Tcp", "ActiveOpens"), counter("Udp", "OutDatagrams"));
    assert!(std::net::TcpStream::connect("203.0.113.1:443").is_err());
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"?", "127.0.0.1:53").unwrap();
    assert_eq!(counter("Tcp", "ActiveOpens") - opened, 1);
    assert_eq!(counter("Udp", "OutDatagrams") - sent, 1);
}

/// Every process below this one.
fn descendants(of: u32) -> Vec<u32> {
    let children = |pid: u32| -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let texts = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
        texts
            .flat_map(|t| t.split_whitespace().filter_map(|w| w.parse().ok()).collect::<Vec<u32>>())
            .collect()
    };
    let mut found = children(of);
    let mut at = 0;
    while at < found.len() {
        found.extend(children(found[at]));
        at += 1;
    }
    found
}

/// Whether a process has this in any memory that it may read; `None` where we may not look.
fn remembers(pid: u32, needle: &str) -> Option<bool> {
    use std::io::BufRead;
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let needle = needle.as_bytes();
    let finder = |mut rest: &[u8]| {
        while rest.skip_until(needle[0]).is_ok_and(|skipped| skipped > 0) {
            if rest.starts_with(&needle[1..]) {
                return true;
            }
        }
        false
    };
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (from, to) = range.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        // What can be written, which is where a key would be.
        if !rights.starts_with("rw") || to - from > 1 << 30 {
            continue;
        }
        // Piece by piece, since parts of it may not be there; each with the end of the
        // one before.
        for at in (from..to).step_by(1 << 20) {
            let begin = at.saturating_sub(needle.len() as u64).max(from);
            let mut bytes = vec![0; usize::try_from((at + (1 << 20)).min(to) - begin).ok()?];
            let read = memory.read_at(&mut bytes, begin).unwrap_or(0);
            if finder(&bytes[..read]) {
                return Some(true);
            }
        }
    }
    Some(false)
}

#[test]
fn the_key_is_in_the_memory_of_no_guest_and_in_no_core_file() {
    // Of this test alone: the daemons of others may have theirs in their environment.
    const KEY: &str = "sk-ant-api03-a-key-to-be-remembered-by-one";
    let Some(home) = Home::with_real_cli() else { return };
    let api = Api::start(Act::Say("nothing of note"));
    let settings = format!("ANTHROPIC_API_KEY={KEY}\nANTHROPIC_BASE_URL={}\n", api.url());
    std::fs::write(home.path().join(".env"), settings).unwrap();
    home.add_group("family", "t:1");
    let daemon = home.start();
    let client = Client::connect(&home, "t:");
    client.message("t:1", "m", "hello.");
    client.answer("t:1", "nothing of note");
    let guests = descendants(daemon.pid());
    assert!(guests.len() >= 3, "the sandbox, the guest, the CLI: {guests:?}");
    let Some(in_daemon) = remembers(daemon.pid(), KEY) else {
        eprintln!("skipped: the memory of other processes cannot be read here");
        return;
    };
    assert!(in_daemon, "the search does not find what is there");
    let mut looked = 0;
    let mut with_placeholder = 0;
    for pid in guests {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let placeholder = environment
            .split('\0')
            .find_map(|e| e.strip_prefix("ANTHROPIC_API_KEY="))
            .map(str::to_owned);
        assert!(!environment.contains(KEY), "process {pid}");
        let Some(found) = remembers(pid, KEY) else { continue };
        assert!(!found, "process {pid} has the key in its memory");
        looked += 1;
        with_placeholder +=
            usize::from(placeholder.is_some_and(|p| remembers(pid, &p) == Some(true)));
    }
    assert!(
        looked >= 3 && with_placeholder > 0,
        "{looked} looked at, {with_placeholder} with a placeholder"
    );
    // Nor do process lists show it, the daemon's own line among them.
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        for list in ["cmdline", "environ"] {
            let text = std::fs::read(process.path().join(list)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&text).contains(KEY), "{:?} {list}", process.path());
        }
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    assert_eq!(daemon.stop(), 0);
}
