//! Purpose: one attempt's course: body, secret, request, answer; what goes wrong is the outcome. Must not: depend on the scheduler.
use crate::clock::SharedClock;
use crate::dispatch::parcel::ParcelMember;
use crate::domain::{Event, EventName, Failure, Outcome, Parcel, Secret, Subscription};
use crate::egress::{Request, Transport};
use crate::fault;
use crate::registry::seal::{Field, Sealer};
use crate::store::Outbox;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The transport keeps the deadline itself; this only guards against one that does not.
const GRACE: Duration = Duration::from_secs(2);

/// What an attempt needs.
pub(in crate::dispatch) struct Attempting<T> {
    pub(in crate::dispatch) outbox: Outbox,
    pub(in crate::dispatch) transport: T,
    pub(in crate::dispatch) sealer: Sealer,
    pub(in crate::dispatch) subscription: Arc<Subscription>,
    pub(in crate::dispatch) parcel: Parcel<ParcelMember>,
    pub(in crate::dispatch) timeout: Duration,
    pub(in crate::dispatch) clock: SharedClock,
}

/// What it came to.
#[derive(Debug)]
pub(in crate::dispatch) struct Attempted {
    /// `None`: it was not ours to make any more.
    pub(in crate::dispatch) outcome: Option<Outcome>,
    /// When the request left, or would have: Unix milliseconds.
    pub(in crate::dispatch) at_ms: i64,
    /// Name and Unix microseconds of each event that could be read.
    pub(in crate::dispatch) events: Vec<(EventName, i64)>,
}

impl Attempted {
    /// A fault of our own.
    pub(in crate::dispatch) fn local(detail: String, at_ms: i64, events: Vec<(EventName, i64)>) -> Self {
        let outcome = Outcome {
            answer: Err(Failure::Local),
            detail: Some(detail),
            retry_after_ms: None,
            duration_us: 0,
        };
        Self { outcome: Some(outcome), at_ms, events }
    }
}

impl<T: Transport> Attempting<T> {
    /// Makes the attempt. Without its secret or a header of its own a delivery is never sent: it would only look like one.
    pub(in crate::dispatch) async fn make(self) -> Attempted {
        let bodies = self.bodies().await;
        // reading may have taken its time, and receivers judge the signature by this one
        let at_ms = self.clock.now_ms();
        let bodies = match bodies {
            Ok(bodies) => bodies,
            Err(why) => return Attempted::local(why, at_ms, Vec::new()),
        };
        let about = bodies.members().map(|event| (event.name.clone(), event.timestamp_us)).collect();
        let (secrets, headers) = match self.open() {
            Ok(opened) => opened,
            Err(why) => return Attempted::local(why, at_ms, about),
        };
        let request = Request {
            endpoint: self.subscription.endpoint(),
            parcel: bodies,
            attempt: self.parcel.first().pending.attempts.saturating_add(1),
            secrets,
            headers,
            timestamp: at_ms / 1000,
            deadline: self.timeout,
        };
        if !self.outbox.lease().holds(Instant::now()) && !fault::planted("past-the-lease") {
            return Attempted { outcome: None, at_ms, events: about };
        }
        fault::crash_point("dispatch.before-send");
        let limit = self.timeout.saturating_add(GRACE);
        let outcome = timeout(limit, self.transport.send(request)).await.unwrap_or_else(|_| Outcome {
            answer: Err(Failure::Timeout),
            detail: Some("the attempt did not end".into()),
            retry_after_ms: None,
            duration_us: limit.as_micros() as u64,
        });
        fault::crash_point("dispatch.sent");
        Attempted { outcome: Some(outcome), at_ms, events: about }
    }

    /// Reads the events of all members.
    async fn bodies(&self) -> Result<Parcel<Arc<Event>>, String> {
        let first = self.body(self.parcel.first()).await?;
        let mut rest = Vec::new();
        for member in self.parcel.members().skip(1) {
            rest.push(self.body(member).await?);
        }
        Ok(self.parcel.with(first, rest))
    }

    async fn body(&self, member: &ParcelMember) -> Result<Arc<Event>, String> {
        let found = self.outbox.event(&member.pending).await.map_err(|e| {
            tracing::error!(delivery = %member.pending.key.id, "not sent, for its body cannot be read: {e}");
            format!("the event's body cannot be read: {e}")
        });
        found?.ok_or_else(|| "the event's body is not in the store".to_owned())
    }

    /// Opens the credentials, for this attempt alone.
    fn open(&self) -> Result<(Vec<Secret>, BTreeMap<String, Secret>), String> {
        let Subscription { id, secret, options, .. } = &*self.subscription;
        let secret = secret.as_ref().map(|sealed| self.sealer.open(*id, Field::Secret, sealed)).transpose();
        let secret = secret.map_err(|e| format!("not sent, for it cannot be signed: the secret: {e}"))?;
        let header = |(name, sealed): (&String, _)| match self.sealer.open(*id, Field::Header(name), sealed) {
            Ok(value) => Ok((name.clone(), value)),
            Err(e) => Err(format!("not sent, for the header '{name}' is missing: {e}")),
        };
        let headers = options.headers.iter().map(header).collect::<Result<_, _>>()?;
        Ok((secret.into_iter().collect(), headers))
    }
}
