//! `nanoclaw image build`: the image that engines need, with the engine's own
//! progress.

use anyhow::{Context, bail};
use tokio::process::Command;

use super::args::Image;
use super::exit::Exit;
use crate::config::settings::DEFAULT_IMAGE;
use crate::config::{Config, RuntimeChoice};
use crate::container::engine::Dialect;
use crate::isolation;

/// The recipe is part of the program.
const RECIPE: &str = include_str!("../../Containerfile");

/// Builds, or fetches what somebody else has built.
pub async fn run(config: &Config, command: &Image) -> anyhow::Result<Exit> {
    let Image::Build { browser } = command;
    let engine = engine(config)?;
    let image = &config.image;
    let program = engine.program();
    let mut command = Command::new(program);
    command.args(engine.options());
    if image == DEFAULT_IMAGE {
        let place = config.data().join("image");
        std::fs::create_dir_all(&place)?;
        let recipe = place.join("Containerfile");
        std::fs::write(&recipe, RECIPE)?;
        let target = if *browser { "browser" } else { "tools" };
        command
            .args(["build", "--tag", image, "--target", target, "--file"])
            .arg(recipe)
            .arg(place);
    } else {
        if *browser {
            bail!(
                "{image} is not ours to build: CONTAINER_IMAGE names it; leave that unset for --browser"
            );
        }
        let pull: &[&str] = if engine == Dialect::Apple { &["image", "pull"] } else { &["pull"] };
        command.args(pull).arg(image);
    }
    eprintln!("nanoclaw: {program} makes {image}; this takes some minutes and needs the network");
    let status = command.status().await.with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} could not make {image} ({status}); what it said stands above");
    }
    println!("{program} has {image}");
    Ok(Exit::Ok)
}

/// The engine that the settings name, else the first that is installed.
fn engine(config: &Config) -> anyhow::Result<Dialect> {
    match config.runtime {
        RuntimeChoice::Engine(dialect) => Ok(dialect),
        RuntimeChoice::Bwrap | RuntimeChoice::Microvm => bail!(
            "{} needs no image: set CONTAINER_RUNTIME to container, docker or podman for one",
            isolation::name(config.runtime)
        ),
        RuntimeChoice::Auto => [Dialect::Apple, Dialect::Podman, Dialect::Docker]
            .into_iter()
            .find(|engine| isolation::on_path(engine.program()))
            .context("no container engine is installed: sudo apt install podman uidmap, or brew install container on a Mac"),
    }
}
