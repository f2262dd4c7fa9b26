#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use super::*;
use crate::container::{Limits, Mount};
use crate::ids::{Folder, Incarnation};

fn spec(mounts: Vec<Mount>) -> Spec {
    Spec {
        install: "abc".into(),
        incarnation: Incarnation(7),
        group: Folder::parse("main").unwrap(),
        mounts,
        env: vec![("ANTHROPIC_API_KEY".into(), "placeholder-1234".into())],
        argv: vec!["/opt/nanoclaw/bin/nanoclaw".into(), "agent".into()],
        scratch: PathBuf::from("/s"),
        limits: Limits { memory: 1 << 30, cpus: 1.5, pids: 99, tmp: 1 << 20 },
    }
}

fn line(dialect: Dialect, host: &str, guest: &str) -> Result<String, String> {
    let mount = Mount { host: host.into(), guest: guest.into(), writable: false };
    let spec = spec(vec![mount.clone()]);
    let guest = &spec.mounts[0].guest;
    let source = mount.host.clone();
    let mounts = [Checked { source, guest, writable: false, identity: (8, 15) }];
    let words = run(&Start {
        dialect,
        spec: &spec,
        name: "nanoclaw-abc-7",
        image: "image:1",
        user: (501, 20),
        mounts: &mounts,
        env: Path::new("/s/env"),
        seccomp: None,
    });
    let words = words.map_err(|e| e.to_string())?;
    Ok(words.iter().map(|w| w.to_str().unwrap()).collect::<Vec<_>>().join(" "))
}

const ALL: [Dialect; 3] = [Dialect::Apple, Dialect::Docker, Dialect::Podman];

#[test]
fn every_dialect_names_labels_and_hardens() {
    for dialect in ALL {
        let line = line(dialect, "/h/g", "/workspace/group").unwrap();
        println!("{} {line}", dialect.program());
        for part in [
            "run --rm -i --name nanoclaw-abc-7 ",
            "--label org.nanoclaw.install=abc --label org.nanoclaw.incarnation=7 ",
            "--user 501:20 --read-only --cap-drop ALL --network none ",
            "--mount type=bind,source=/h/g,target=/workspace/group,readonly ",
            "--workdir /workspace/group ",
            " image:1 /opt/nanoclaw/bin/nanoclaw agent",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    let docker = line(Dialect::Docker, "/h", "/workspace/x").unwrap();
    for part in [
        "--pull never",
        "no-new-privileges",
        "--pids-limit 99",
        "--memory 1073741824 --memory-swap 1073741824 --cpus 1.5",
    ] {
        assert!(docker.contains(part), "{part} in {docker}");
    }
}

#[test]
fn apple_gets_only_what_its_tool_knows() {
    let line = line(Dialect::Apple, "/h/g", "/workspace/group").unwrap();
    assert!(line.contains("--memory 1024M --cpus 2 --ulimit nproc=99:99"), "{line}");
    for part in [
        "--pids-limit",
        "--security-opt",
        "--pull",
        "--hostname",
        "--memory-swap",
        "--shm-size",
        "tmpfs=",
        "--userns",
    ] {
        assert!(!line.contains(part), "{part} in {line}");
    }
}

#[test]
fn the_proxy_s_directory_is_a_relayed_socket_for_apple() {
    let apple = line(Dialect::Apple, "/h/run", PROXY_DIR).unwrap();
    assert!(apple.contains("-v /h/run/proxy.sock:/run/nanoclaw/proxy.sock"), "{apple}");
    assert!(!apple.contains("--mount"), "{apple}");
    let docker = line(Dialect::Docker, "/h/run", PROXY_DIR).unwrap();
    assert!(docker.contains("--mount type=bind,source=/h/run,target=/run/nanoclaw,readonly"));
}

#[test]
fn any_path_is_quoted_or_refused_by_name() {
    for (path, quoted) in [
        ("/a b/ü", "source=/a b/ü,"),
        ("/a,b", "\"source=/a,b\","),
        ("/a=b:c", "source=/a=b:c,"),
        ("/a\"b", "\"source=/a\"\"b\","),
    ] {
        for dialect in [Dialect::Docker, Dialect::Podman] {
            let line = line(dialect, path, "/workspace/x").unwrap();
            assert!(line.contains(&format!("type=bind,{quoted}target=")), "{line}");
        }
    }
    for path in ["/a,b", "/a=b", "/new\nline"] {
        let error = line(Dialect::Apple, path, "/workspace/x").unwrap_err();
        assert!(error.contains(path) && error.contains("cannot mount"), "{error}");
    }
    assert!(line(Dialect::Apple, "/a:b", PROXY_DIR).unwrap_err().contains("/a:b"));
    assert!(line(Dialect::Docker, "/new\nline", "/workspace/x").unwrap_err().contains("control"));
}

#[test]
fn no_value_of_the_environment_is_on_a_command_line() {
    for dialect in ALL {
        assert!(!line(dialect, "/h", "/workspace/x").unwrap().contains("placeholder"));
    }
    let file = env_file(&spec(vec![]).env).unwrap();
    assert_eq!(file, b"ANTHROPIC_API_KEY=placeholder-1234\n");
    for bad in [("A=B", "x"), ("", "x"), ("A", "two\nlines"), ("#A", "x")] {
        assert!(env_file(&[(bad.0.into(), bad.1.into())]).is_err(), "{bad:?}");
    }
}
