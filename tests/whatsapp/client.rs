//! The real client code as a linked device, for the server's own tests: what the
//! program's channel does is not asked here.
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use whatsapp_rust::async_trait;
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::prelude::{Event, EventHandler, MessageExt as _};
use whatsapp_rust::store::traits::Backend;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::types::durability_hook::{InboundDurabilityHook, InboundMessage};
use whatsapp_rust::types::message::MessageInfo;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::wacore::store::{DevicePropsOverride, InMemoryBackend};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{Client, Jid, TokioRuntime, anyhow, async_channel};

use super::server::{Phone, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// A linked device that runs, and what it was told so far.
pub struct Device {
    pub client: Arc<Client>,
    /// Its keys; another device on them is the same one after a restart.
    pub store: Arc<dyn Backend>,
    /// Its number among the account's devices, once linked.
    pub number: u16,
    handle: BotHandle,
    events: async_channel::Receiver<Arc<Event>>,
    seen: Vec<Arc<Event>>,
}

/// Takes messages, or does not: what it refuses must stay with the server.
pub struct Taking(pub Arc<std::sync::atomic::AtomicBool>);

#[async_trait]
impl InboundDurabilityHook for Taking {
    async fn on_messages(&self, _: Arc<Client>, _: &[InboundMessage]) -> anyhow::Result<()> {
        let taking = self.0.load(std::sync::atomic::Ordering::SeqCst);
        taking.then_some(()).ok_or_else(|| anyhow::anyhow!("no room"))
    }
}

struct Forward(async_channel::Sender<Arc<Event>>);

impl EventHandler for Forward {
    fn handle_event(&self, event: Arc<Event>) {
        let _ = self.0.try_send(event);
    }
}

/// Files over plain HTTP, from the test server whatever the link says.
struct Http(String);

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let link = request.url.strip_prefix("https://").unwrap_or(&request.url);
        let path = link.split_once('/').map(|(_, path)| path).unwrap_or_default();
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client
            .request(request.method.parse()?, format!("{}/{path}", self.0))
            .body(request.body.map(Vec::from).unwrap_or_default())
            .send()
            .await?;
        let status_code = answer.status().as_u16();
        Ok(HttpResponse { status_code, body: answer.bytes().await?.to_vec() })
    }
}

impl Device {
    /// A new device, which shows a code to scan; and digits too, for this number.
    pub async fn fresh(server: &Server, digits_for: Option<String>) -> Device {
        Device::on(server, Arc::new(InMemoryBackend::new()), digits_for).await
    }

    /// A device on these keys.
    pub async fn on(
        server: &Server,
        store: Arc<dyn Backend>,
        digits_for: Option<String>,
    ) -> Device {
        Device::start(server, store, digits_for, None).await
    }

    /// A device on these keys that acknowledges what the hook has taken.
    pub async fn start(
        server: &Server,
        store: Arc<dyn Backend>,
        digits_for: Option<String>,
        hook: Option<Taking>,
    ) -> Device {
        Device::at(&server.url(), &server.media_url(), store, digits_for, hook).await
    }

    /// A device of a server that is not in this process.
    pub async fn at(
        url: &str,
        files: &str,
        store: Arc<dyn Backend>,
        digits_for: Option<String>,
        hook: Option<Taking>,
    ) -> Device {
        let (sender, events) = async_channel::unbounded();
        let mut bot = Bot::builder()
            .with_backend_arc(store.clone())
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(url))
            .with_http_client(Http(files.to_owned()))
            .with_runtime(TokioRuntime)
            .with_version((2, 3000, 1_030_000_000))
            .with_device_props(DevicePropsOverride::new().with_os("Linux"))
            .with_wanted_pre_key_count(20)
            .with_event_handler(Forward(sender))
            .skip_history_sync();
        if let Some(phone_number) = digits_for {
            bot = bot.with_pair_code(PairCodeOptions { phone_number, ..Default::default() });
        }
        if let Some(hook) = hook {
            bot = bot.with_inbound_durability_hook(hook);
        }
        let handle = bot.build().await.unwrap().spawn();
        let client = handle.client();
        Device { client, store, number: 0, handle, events, seen: Vec::new() }
    }

    /// A device linked to this phone by QR code, and connected.
    pub async fn linked(server: &Server, phone: &Phone) -> Device {
        let mut device = Device::fresh(server, None).await;
        let code = device.code().await;
        device.number = phone.scan(&code).await.unwrap();
        device.connected().await;
        device
    }

    /// The same device after its program was restarted.
    pub async fn restarted(self, server: &Server) -> Device {
        let (store, number) = (self.store.clone(), self.number);
        self.stop().await;
        let mut device = Device::on(server, store, None).await;
        device.number = number;
        device
    }

    pub async fn stop(self) {
        self.handle.shutdown().await;
    }

    /// The code that it shows.
    pub async fn code(&mut self) -> String {
        self.event("a code to scan", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    pub async fn connected(&mut self) {
        let connected = |event: &Event| matches!(event, Event::Connected(_)).then_some(());
        self.event("the connection", connected).await;
    }

    /// Waits for an event, also for an old one.
    pub async fn event<T>(&mut self, what: &str, like: impl Fn(&Event) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(|event| like(event)) {
            return found;
        }
        let search = async {
            loop {
                let event = self.events.recv().await.unwrap();
                let found = like(&event);
                self.seen.push(event);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("the device waited in vain for {what}"),
        }
    }

    /// Forgets the events so far, so that only new ones count.
    pub fn forget(&mut self) {
        while self.events.try_recv().is_ok() {}
        self.seen.clear();
    }

    /// Waits for a message like that.
    pub async fn message(
        &mut self,
        what: &str,
        like: impl Fn(&wa::Message, &MessageInfo) -> bool,
    ) -> (wa::Message, MessageInfo) {
        self.event(what, |event| {
            let Event::Messages(batch) = event else { return None };
            let mut messages = batch.iter();
            let found = messages.find(|inbound| like(&inbound.message, &inbound.info))?;
            Some(((*found.message).clone(), (*found.info).clone()))
        })
        .await
    }

    /// Waits for a message that says exactly that.
    pub async fn text(&mut self, text: &str) -> MessageInfo {
        let like = |message: &wa::Message, _: &MessageInfo| message.text_content() == Some(text);
        self.message(&format!("{text:?}"), like).await.1
    }

    /// How often a message that says that has come.
    pub fn count(&mut self, text: &str) -> usize {
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
        let of = |event: &Arc<Event>| match &**event {
            Event::Messages(batch) => {
                batch.iter().filter(|m| m.message.text_content() == Some(text)).count()
            }
            _ => 0,
        };
        self.seen.iter().map(of).sum()
    }

    /// Says something; the message's id.
    pub async fn say(&self, chat: &Jid, text: &str) -> String {
        self.client.send_text(chat, text).await.unwrap().message_id
    }
}
