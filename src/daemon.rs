//! The daemon: config -> build -> run -> drain, top to bottom.

mod limits;

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::{Notify, mpsc};

use crate::channel::socket::{Connected, Socket, TERMINAL};
#[cfg(feature = "whatsapp")]
use crate::channel::whatsapp::{LinkTask, WhatsApp};
use crate::channel::{Channel, Inlet, Place};
use crate::config::Config;
use crate::container::{Health, Runtime};
use crate::db::{self, Group, Ledger, NewGroup};
use crate::ids::{Folder, random_hex};
use crate::isolation::{self, Chosen, Passed};
use crate::outbox::Outbox;
use crate::proxy::{Proxy, Upstream};
use crate::requests;
use crate::scheduler::Scheduler;
use crate::turns::dispatch::{Dispatcher, Watch};
use crate::turns::guest::Host;
use crate::turns::slots::Slots;
use crate::turns::state::Rules;
use crate::upgrade;

/// The file name of the guest's own program, beside this one.
pub const GUEST_PROGRAM: &str = "nanoclaw-guest";

/// How long running turns may go on after a stop was asked for.
pub const GRACE: Duration = Duration::from_secs(10);

/// What a daemon that runs says about itself.
#[derive(Clone, Debug)]
pub struct Ready {
    /// From the start of the process.
    pub took: Duration,
    /// Groups that it serves.
    pub groups: usize,
    /// What separates guests from the host.
    pub health: Health,
    /// Stronger runtimes that are not ready.
    pub passed: Vec<Passed>,
    /// Whether the practice model answers.
    pub practice: bool,
    /// How things stand with WhatsApp, where the program has it.
    pub whatsapp: Option<String>,
    /// What the owner is told once, at the first start on a directory of 1.x.
    pub news: Vec<String>,
}

/// Has the thread for what may block before anything depends on it.
async fn one_thread() -> anyhow::Result<()> {
    let tried = std::thread::Builder::new().spawn(|| ());
    drop(tried.context("no thread can be had: this user has too many processes")?.join());
    Ok(tokio::task::spawn_blocking(|| ()).await?)
}

/// Runs until `stop` resolves, then drains within the grace that it says. `ready` is called once, when messages
/// are taken. Fails without having changed anything that matters.
pub async fn run(
    config: Arc<Config>,
    began: Instant,
    ready: impl FnOnce(&Ready),
    stop: impl Future<Output = Duration>,
) -> anyhow::Result<()> {
    limits::no_core_files();
    limits::more_files();
    one_thread().await?;
    let _lock = Lock::take(&config.data().join("nanoclaw.lock"))?;
    std::fs::create_dir_all(config.store())?;
    private(&config.store())?;
    upgrade::rival::check(&config)?;
    let ledger = Ledger::open_from(&config.ledger(), Some(&upgrade::origin(&config)))?;
    let (install, groups) = settle_in(&ledger, &config).await?;
    std::fs::create_dir_all(config.data())?;
    let Chosen { runtime, owner, choice } = isolation::choose(&config, &ledger).await?;
    let health = choice.health;
    sweep(&ledger, runtime.as_ref(), &config, &install).await?;
    let program = stage_program(&config)?;

    let upstream = Upstream {
        base: config.base_url.to_string(),
        credential: config.credential.clone(),
        proxy: config.upstream_proxy.as_ref().map(|p| p.expose().to_owned()),
    };
    let practice = upstream.is_practice();
    let (wake, work) = mpsc::unbounded_channel();
    let tasks = Arc::new(Notify::new());
    let (mailed, mail) = mpsc::unbounded_channel();
    let socket = Socket::default();
    #[cfg(feature = "whatsapp")]
    let whatsapp = WhatsApp::new(ledger.clone(), config.clone());
    let channels: Vec<Arc<dyn Channel>> = vec![
        Arc::new(socket.clone()),
        #[cfg(feature = "whatsapp")]
        Arc::new(whatsapp.clone()),
    ];
    let (outbox, delivery) = Outbox::start(ledger.clone(), channels, config.reactions.clone());
    let host = Arc::new(Host {
        ledger: ledger.clone(),
        runtime,
        health: health.clone(),
        proxy: Proxy::new(upstream),
        outbox: outbox.clone(),
        tasks: tasks.clone(),
        slots: Slots::new(config.max_containers),
        watch: Watch::new(mailed),
        install,
        program,
        owner,
        prices: config.prices.clone(),
        rules: rules(&config),
        config: config.clone(),
    });
    let scheduler = Scheduler {
        ledger: ledger.clone(),
        wake: wake.clone(),
        outbox: outbox.clone(),
        changed: tasks.clone(),
        zone: config.timezone,
    };
    let files = std::path::absolute(config.files())?;
    let place = Place { files: files.clone(), groups: config.groups(), owner };
    let sweeping = exchange_files(&ledger, &config, &place).await?;
    let pruning = tokio::spawn(prune(ledger.clone(), config.keep));
    let inlet = Inlet::new(ledger.clone(), wake, outbox.clone(), config.clone(), place);
    #[cfg(feature = "whatsapp")]
    let link = LinkTask::start(whatsapp, inlet.clone(), outbox.clone());
    let files = files.display().to_string();
    let (outbox_of, tasks_of) = (outbox.clone(), tasks.clone());
    #[cfg(feature = "whatsapp")]
    let poke = link.poke.clone();
    let connected = move |who| match who {
        Connected::Client => outbox_of.wake(),
        Connected::Somebody => {
            tasks_of.notify_one();
            #[cfg(feature = "whatsapp")]
            poke.notify_one();
        }
    };
    let listening = socket
        .listen(&config.socket, inlet, files, connected)
        .with_context(|| format!("cannot listen at {}", config.socket.display()))?;

    let took = began.elapsed();
    let mut news = upgrade::news(&ledger, &config).await?;
    news.extend(upgrade::rival::warnings(&config));
    #[cfg(feature = "whatsapp")]
    let whatsapp = Some(link.sentence(&ledger, config.timezone).await?);
    #[cfg(not(feature = "whatsapp"))]
    let whatsapp = None;
    ready(&Ready { took, groups, health, passed: choice.passed, practice, whatsapp, news });
    outbox.wake();
    let scheduling = tokio::spawn(scheduler.run());
    tokio::select! {
        () = Dispatcher::new(host).run(work, mail, stop) => {}
        () = ledger.damaged() => return stop_here(&config).await,
    }

    // What the last turns said still goes out, if somebody takes it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    scheduling.abort();
    listening.abort();
    sweeping.abort();
    pruning.abort();
    #[cfg(feature = "whatsapp")]
    link.end().await;
    delivery.abort();
    let _ = std::fs::remove_file(&config.socket);
    Ok(())
}

/// Ends without a drain, which would write into a ledger that is damaged. What was not
/// acknowledged comes again; guests end with this process.
async fn stop_here(config: &Config) -> anyhow::Result<()> {
    let ledger = config.ledger().display().to_string();
    let text = format!(
        "{ledger} is damaged, so nothing more is written to it: restore it from a backup, as docs/faults.md says"
    );
    tracing::error!("{text}");
    #[cfg(feature = "whatsapp")]
    crate::channel::whatsapp::alert::tell(config.alert.as_deref(), &format!("NanoClaw: {text}"))
        .await;
    // Chats whose messages could not be stored are being told.
    tokio::time::sleep(Duration::from_secs(1)).await;
    bail!(text)
}

/// Makes the directory that channels exchange files in, removes what a crash left
/// there and in the groups, and from then on what is not needed any more.
async fn exchange_files(
    ledger: &Ledger,
    config: &Config,
    place: &Place,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    std::fs::create_dir_all(config.files().join("out"))?;
    requests::sweep(ledger, config.files(), true).await?;
    let (groups, named) =
        ledger.write(|c| Ok((db::groups::all(c)?, db::files::received(c)?))).await?;
    let place = place.clone();
    let sweep = move || groups.iter().for_each(|group| place.sweep(&group.folder, &named));
    tokio::task::spawn_blocking(sweep).await?;
    let (ledger, files) = (ledger.clone(), config.files());
    Ok(tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(60 * 60)).await;
            if let Err(error) = requests::sweep(&ledger, files.clone(), false).await {
                tracing::warn!(%error, "cannot look for files that were sent");
            }
        }
    }))
}

/// Removes, at the start and every hour, what is kept for a time only.
async fn prune(ledger: Ledger, keep: Option<Duration>) {
    let Some(keep) = keep else { return };
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    loop {
        let before = db::now_ms().saturating_sub(keep);
        match ledger.write(move |c| db::retention::prune(c, before)).await {
            // In pieces, so that nobody waits for long.
            Ok(true) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(false) => tokio::time::sleep(Duration::from_secs(60 * 60)).await,
            Err(error) => {
                tracing::warn!(%error, "cannot remove what is old");
                tokio::time::sleep(Duration::from_secs(60 * 60)).await;
            }
        }
    }
}

fn rules(config: &Config) -> Rules {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    Rules { turn: ms(config.turn_timeout), idle: ms(config.idle_timeout), ..Rules::default() }
}

/// The installation's id, and a main group with the terminal as its first chat.
pub async fn settle_in(ledger: &Ledger, config: &Config) -> anyhow::Result<(String, usize)> {
    let fresh = random_hex()?;
    let name = config.assistant_name.clone();
    let (main, other) = (Folder::parse("main")?, Folder::parse("terminal")?);
    Ok(ledger
        .write(move |c| {
            let install = match db::settings::get(c, db::settings::INSTALL)? {
                Some(install) => install,
                None => {
                    db::settings::set(c, db::settings::INSTALL, &fresh)?;
                    fresh
                }
            };
            let terminal = format!("{TERMINAL}main");
            let mut groups = db::groups::all(c)?;
            match groups.iter().find(|g| g.is_main) {
                Some(group) if db::groups::of_chat(c, &terminal)?.is_none() => {
                    db::groups::link(c, &group.folder, &terminal)?;
                }
                Some(_) => {}
                None => {
                    // A 1.x group of that name may be one that must not administer.
                    let taken = groups.iter().any(|g| g.folder == main);
                    let folder = if taken { other } else { main };
                    let group = Group {
                        is_main: true,
                        requires_trigger: false,
                        ..Group::new(folder, name)
                    };
                    db::groups::add(c, &NewGroup { group, chats: vec![terminal] })?;
                    groups = db::groups::all(c)?;
                }
            }
            Ok((install, groups.len()))
        })
        .await?)
}

/// Ends guests and removes directories of ours that the ledger takes for dead.
/// Those that it takes for alive are their actors' to bury.
async fn sweep(
    ledger: &Ledger,
    runtime: &dyn Runtime,
    config: &Config,
    install: &str,
) -> anyhow::Result<()> {
    let open = ledger.write(db::incarnations::not_dead).await?;
    for id in runtime.list(install).await? {
        if !open.iter().any(|o| o.id == id) {
            tracing::warn!(incarnation = %id, "ending a guest that should be dead");
            runtime.stop(install, id, Duration::from_secs(10)).await?;
        }
    }
    let Ok(folders) = std::fs::read_dir(config.data().join("ipc")) else { return Ok(()) };
    for folder in folders.flatten() {
        let Some(folder) = folder.file_name().to_str().and_then(|n| Folder::parse(n).ok()) else {
            continue;
        };
        let left = std::fs::read_dir(config.data().join("ipc").join(folder.as_str()))?;
        for entry in left.flatten() {
            let number = entry.file_name().to_str().and_then(|n| n.parse::<i64>().ok());
            let Some(id) = number.map(crate::ids::Incarnation) else { continue };
            if !open.iter().any(|o| o.id == id) {
                crate::turns::guest::remove(config, &folder, id)?;
            }
        }
    }
    Ok(())
}

/// The guest's program, alone in a directory that can be mounted: the static one
/// that lies beside this program, else this program, which runs where the guest has
/// this system's libraries.
fn stage_program(config: &Config) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program's file")?;
    let small = this.with_file_name(GUEST_PROGRAM);
    let own = if small.is_file() { small } else { this };
    let meta = std::fs::metadata(&own)?;
    let modified = meta.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let all = config.data().join("program");
    let directory = all.join(format!("{:x}-{modified:x}", meta.len()));
    let staged = directory.join("nanoclaw");
    if staged.exists() {
        return Ok(directory);
    }
    // Older ones are of no use once no guest runs, which is now.
    let _ = std::fs::remove_dir_all(&all);
    std::fs::create_dir_all(&directory)?;
    let hidden = directory.join(".nanoclaw");
    std::fs::hard_link(&own, &hidden)
        .or_else(|_| {
            std::fs::copy(&own, &hidden)?;
            // It is not copied again: a power loss must not leave half of it.
            std::fs::File::open(&hidden)?.sync_all()
        })
        .with_context(|| format!("cannot place the guest program in {}", directory.display()))?;
    std::fs::rename(&hidden, &staged)?;
    Ok(directory)
}

/// One daemon a data directory.
pub struct Lock {
    _file: std::fs::File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(path: &Path) -> anyhow::Result<Lock> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut options = std::fs::File::options();
        options.read(true).write(true).create(true).truncate(false);
        let opened = std::fs::create_dir_all(directory)
            .and_then(|()| private(directory))
            .and_then(|()| options.open(path));
        let mut file =
            opened.with_context(|| format!("cannot write in {}", directory.display()))?;
        // A command that asks who holds the lock holds it itself for an instant.
        let mut tries = 0;
        while file.try_lock().is_err() {
            tries += 1;
            if tries < 10 {
                #[expect(clippy::disallowed_methods, reason = "nothing else runs yet")]
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            let holder = Lock::holder(path).unwrap_or_else(|| "another process".into());
            bail!("a daemon serves {} already: {holder}", directory.display());
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "process {}", std::process::id())?;
        Ok(Lock { _file: file })
    }

    /// Who has the lock, if anybody.
    pub fn holder(path: &Path) -> Option<String> {
        let mut file = std::fs::File::open(path).ok()?;
        if file.try_lock_shared().is_ok() {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// Ledger, mailboxes and sessions are nobody else's business on this machine.
fn private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}
