//! One connection's worth of the library: a client built from the settings, and its
//! events in our words.

use std::sync::Arc;

use tokio::sync::mpsc;
use whatsapp_rust::bot::{Bot, BotHandle};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::prelude::{Event, EventHandler, EventInterest, EventKind};
use whatsapp_rust::store::SqliteStore;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::waproto::whatsapp::device_props::PlatformType;
use whatsapp_rust::{CacheConfig, TokioRuntime};

use super::hook::Hook;
use super::http::Http;
use super::link::Happened;
use crate::config::Config;
use crate::db::now_ms;

/// Prekeys that are made at once. Each lets one new device write before the next
/// hundred are uploaded, which happens by itself.
const PREKEYS: usize = 100;

/// The events that are looked at.
const KINDS: &[EventKind] = &[
    EventKind::PairingQrCode,
    EventKind::PairingQrCodesExhausted,
    EventKind::PairingCode,
    EventKind::PairingCodeError,
    EventKind::PairSuccess,
    EventKind::PairError,
    EventKind::PairPasskeyRequest,
    EventKind::PairPasskeyError,
    EventKind::QrScannedWithoutMultidevice,
    EventKind::Connected,
    EventKind::Disconnected,
    EventKind::LoggedOut,
    EventKind::StreamReplaced,
    EventKind::TemporaryBan,
    EventKind::ClientOutdated,
    EventKind::ConnectFailure,
    EventKind::ServerAck,
    EventKind::Receipt,
    EventKind::Messages,
    EventKind::UndecryptableMessage,
    EventKind::GroupUpdate,
    EventKind::ContactUpdate,
    EventKind::ContactNumberChanged,
];

struct Forward(mpsc::UnboundedSender<Arc<Event>>);

impl EventHandler for Forward {
    fn handle_event(&self, event: Arc<Event>) {
        // The receiver is gone when the connection is being ended.
        let _ = self.0.send(event);
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(KINDS)
    }
}

/// A client that runs.
pub struct Running {
    /// Ends when the library has given up for good.
    pub handle: BotHandle,
    /// What happens.
    pub events: mpsc::UnboundedReceiver<Arc<Event>>,
}

/// Starts a client on the store. With a phone's number it asks for a code to type,
/// besides the one to scan.
pub async fn start(
    config: &Config,
    store: SqliteStore,
    hook: Hook,
    phone: Option<String>,
) -> anyhow::Result<Running> {
    let (sender, events) = mpsc::unbounded_channel();
    let proxy = config.upstream_proxy.as_ref().map(|p| p.expose());
    let os = if cfg!(target_os = "macos") { "Mac OS" } else { "Linux" };
    let transport = TokioWebSocketTransportFactory::new();
    #[cfg(feature = "test-server")]
    let (transport, media) = match &config.whatsapp_test {
        Some(test) => (transport.with_url(&*test.url), Some(test.media.clone())),
        None => (transport, None),
    };
    #[cfg(not(feature = "test-server"))]
    let media = None;
    let builder = Bot::builder()
        .with_backend(store)
        .with_transport_factory(transport)
        .with_http_client(Http::new(proxy, media)?)
        .with_runtime(TokioRuntime)
        .with_device_props(
            DevicePropsOverride::new().with_os(os).with_platform_type(PlatformType::CHROME),
        )
        .with_cache_config(caches())
        .with_wanted_pre_key_count(PREKEYS)
        .with_inbound_durability_hook(hook)
        .with_event_handler(Forward(sender))
        .skip_history_sync();
    #[cfg(feature = "test-server")]
    let builder = match config.whatsapp_test {
        // The version is WhatsApp's to say, which a test does not ask.
        Some(_) => builder.with_version((2, 3000, 1_030_000_000)),
        None => builder,
    };
    let builder = match phone {
        Some(phone_number) => {
            builder.with_pair_code(PairCodeOptions { phone_number, ..Default::default() })
        }
        None => builder,
    };
    Ok(Running { handle: builder.build().await?.spawn(), events })
}

/// Small: one account, a few dozen chats.
fn caches() -> CacheConfig {
    CacheConfig {
        session_locks_capacity: 1_000,
        chat_lanes_capacity: 500,
        resend_rate_limiter_capacity: 256,
        seed_msg_secrets_from_history: false,
        ..CacheConfig::default()
    }
}

/// What an event means for how things stand, if anything.
pub fn happened(event: &Event) -> Option<Happened> {
    let in_ms = |d: std::time::Duration| now_ms() + i64::try_from(d.as_millis()).unwrap_or(0);
    Some(match event {
        Event::PairingQrCode(qr) => Happened::Qr(qr.code.clone(), in_ms(qr.timeout)),
        Event::PairingCode(code) => Happened::Code(code.code.clone(), in_ms(code.timeout)),
        // Else a code to type still holds.
        Event::PairingQrCodesExhausted(codes) if codes.disconnected => Happened::NotLinked(
            "no phone scanned the code in time: run `nanoclaw auth whatsapp` again".into(),
        ),
        Event::PairingCodeError(error) => Happened::NotLinked(match error.rejection {
            Some(refused) if refused.is_throttled() => {
                "WhatsApp gives out no more codes for this number for now: wait an hour, or scan the QR code".into()
            }
            _ => format!("WhatsApp gave no code to type: {}", error.error),
        }),
        Event::PairError(error) => Happened::NotLinked(format!("the phone could not be linked: {}", error.error)),
        Event::PairPasskeyRequest(_) => Happened::NotLinked(
            "WhatsApp asks for a passkey to link this account, which this version cannot give: use --phone, or an account without one".into(),
        ),
        Event::PairPasskeyError(error) => Happened::NotLinked(format!("the passkey was not accepted: {}", error.error)),
        Event::QrScannedWithoutMultidevice(_) => Happened::NotLinked(
            "the phone's WhatsApp is too old to link devices: update it and scan again".into(),
        ),
        Event::PairSuccess(pair) => {
            Happened::Paired(pair.id.to_non_ad().to_string(), pair.lid.to_non_ad().to_string())
        }
        Event::Disconnected(lost) => Happened::Lost(lost.reason.to_string()),
        Event::LoggedOut(out) => Happened::LoggedOut(match &out.logout_message {
            Some(message) => message.header.clone().unwrap_or_default(),
            None => format!("{:?}", out.reason),
        }),
        Event::StreamReplaced(_) => Happened::Replaced,
        Event::TemporaryBan(ban) => {
            let until = now_ms().saturating_add(ban.expire.num_milliseconds());
            Happened::Banned(until, ban.message.clone().unwrap_or_else(|| ban.code.to_string()))
        }
        Event::ClientOutdated(_) => Happened::Outdated,
        // The library tries these again by itself.
        Event::ConnectFailure(failure) if failure.reason.should_reconnect() => {
            Happened::Lost(format!("{:?}", failure.reason))
        }
        Event::ConnectFailure(failure) => Happened::Rejected(match &failure.message {
            Some(message) => format!("{:?}: {message}", failure.reason),
            None => format!("{:?}", failure.reason),
        }),
        _ => return None,
    })
}
