//! What must hold when a world has come to its end: truth, store and receipts are compared. Knows no stage.
use crate::ledger::Ledger;
use crate::net::{Net, Sent};
use crate::oracle::{Owed, Truth};
use crate::world::World;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tailhook::domain::{Delivery, DeliveryId, Event, EventId, Failure, Sequence, Status};

/// Attempts that a delivery may use up: `max_retries` and the first.
pub(crate) const COUNTED: u32 = 4;

/// Each event with the subscriptions that it has a delivery for.
pub(crate) type Events<'a> = BTreeMap<EventId, (&'a Event, BTreeSet<String>)>;

/// Compares everything.
pub(crate) fn history(world: &World, truth: &Truth, ledger: &Ledger, net: &Net) {
    let mut events: Events = BTreeMap::new();
    let mut by_id: BTreeMap<DeliveryId, &(Delivery, Arc<Event>)> = BTreeMap::new();
    for entry in ledger {
        let (delivery, event) = entry;
        let known = events.entry(event.id).or_insert_with(|| (event, BTreeSet::new()));
        if *known.0 != **event {
            world.violated(format!("event {} is kept in two versions", event.id));
        }
        if !known.1.insert(delivery.subscription.to_string())
            || by_id.insert(delivery.key.id, entry).is_some()
        {
            world.violated(format!("event {} has two deliveries for {}", event.id, delivery.subscription));
        }
    }
    let owed: Vec<&Owed> = truth.owed.iter().filter(|o| !o.subscriptions.is_empty()).collect();
    exactly_one_event_a_change(world, &owed, &events);
    let log = net.log();
    let mut sent: BTreeMap<DeliveryId, Vec<&Sent>> = BTreeMap::new();
    for one in &log {
        match by_id.get(&one.delivery) {
            Some((_, event)) if event.id == one.event && net.body(event.id).as_ref() == Some(&event.body) => {
            }
            Some(_) => {
                world.violated(format!("delivery {} was sent with another event or body", one.delivery));
            }
            None => world.violated(format!("delivery {} was sent but nothing is known of it", one.delivery)),
        }
        sent.entry(one.delivery).or_default().push(one);
    }
    for (delivery, _) in ledger {
        ends_for_a_reason(world, truth, delivery, sent.get(&delivery.key.id).map_or(&[], Vec::as_slice));
    }
    order_is_kept(world, truth, &by_id, &log);
}

/// Every committed matching change ⇔ exactly one event id, with a delivery for each subscription active then.
pub(crate) fn exactly_one_event_a_change(world: &World, owed_events: &[&Owed], events: &Events) {
    type Place<'a> = (u64, &'a str, &'a str, Option<&'a str>);
    let mut owed: BTreeMap<Place, Vec<&Owed>> = BTreeMap::new();
    for one in owed_events {
        owed.entry((one.lsn, one.name, &one.tenant, one.resource_id.as_deref())).or_default().push(one);
    }
    let mut given: BTreeMap<Place, Vec<(&Event, &BTreeSet<String>)>> = BTreeMap::new();
    for (event, subscriptions) in events.values() {
        let resource = event.resource.as_ref().map(|r| r.id.as_str()).filter(|id| !id.is_empty());
        let place = (event.sequence.lsn.0, event.name.as_str(), event.tenant.as_str(), resource);
        given.entry(place).or_default().push((event, subscriptions));
    }
    let mut numbered = BTreeMap::new();
    for (place, changes) in &owed {
        let mut matching = given.remove(place).unwrap_or_default();
        matching.sort_by_key(|(event, _)| event.sequence);
        let excused = matching.is_empty() && changes.iter().all(|change| change.excused);
        if matching.len() != changes.len() && !excused {
            let ids: Vec<_> = matching.iter().map(|(e, _)| e.id).collect();
            world.violated(format!(
                "{} change(s) {place:x?} have {} event(s) {ids:?}",
                changes.len(),
                ids.len()
            ));
        }
        for (change, (event, subscriptions)) in changes.iter().zip(matching) {
            numbered.insert(event.sequence, change.place);
            if change.subscriptions != *subscriptions {
                let asked = &change.subscriptions;
                world.violated(format!("{} is owed to {asked:?} but is for {subscriptions:?}", event.id));
            }
            body_is_right(world, change, event);
        }
    }
    let in_order = |(one, two): ((&Sequence, _), (&Sequence, _))| one.0.lsn != two.0.lsn || one.1 < two.1;
    if !numbered.iter().zip(numbered.iter().skip(1)).all(in_order) {
        world.violated("events of a transaction are not numbered in the order of its changes".to_owned());
    }
    for (place, unknown) in given {
        world.violated(format!("{} event(s) for nothing that was committed: {place:x?}", unknown.len()));
    }
}

fn body_is_right(world: &World, owed: &Owed, event: &Event) {
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&event.body) else {
        world.violated(format!("the body of {} is no JSON object", event.id));
        return;
    };
    let mut wrong = Vec::new();
    let mut expect = |key: &str, value: Value| {
        if body.get(key) != Some(&value) {
            wrong.push(format!("{key} should be {value} but is {:?}", body.get(key)));
        }
    };
    let at = jiff::Timestamp::from_microsecond(owed.commit_us).unwrap();
    expect("id", event.id.to_string().into());
    expect("timestamp", at.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string().into());
    expect("event", owed.name.into());
    expect("tenant_id", owed.tenant.as_str().into());
    expect("resource_type", owed.resource_type.into());
    expect(
        "metadata",
        serde_json::json!({"tenant_id": owed.tenant, "source": "gestiqcloud", "version": "1.0"}),
    );
    if let Some(id) = &owed.resource_id {
        expect("resource_id", id.as_str().into());
        let unchanged: BTreeSet<&str> = body
            .get("unchanged")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut data = owed.data.clone();
        data.retain(|key, _| !(unchanged.contains(key.as_str()) && owed.may_lack.contains(key)));
        expect("data", Value::Object(data));
    }
    if event.timestamp_us != owed.commit_us {
        wrong.push(format!("timestamp {} instead of {}", event.timestamp_us, owed.commit_us));
    }
    if !wrong.is_empty() {
        world.violated(format!("{} ({}): {}", event.id, owed.name, wrong.join("; ")));
    }
}

/// Every delivery has ended, and what it ended as follows from what its receiver answered.
fn ends_for_a_reason(world: &World, truth: &Truth, delivery: &Delivery, sent: &[&Sent]) {
    let id = &delivery.key.id;
    let wish = truth.wishes.get(&delivery.subscription.to_string());
    let lsn = truth.owed.iter().find(|o| o.commit_us == delivery.created_us).map_or(0, |o| o.lsn);
    let answered =
        |holds: fn(u16) -> bool| sent.iter().any(|s| matches!(s.answer, Some(Ok(status)) if holds(status)));
    let counted = sent.iter().filter(|s| matches!(s.answer, Some(Err(_) | Ok(500..)))).count();
    let fair = match delivery.status {
        Status::Delivered => {
            answered(|status| (200..400).contains(&status)) && sent.iter().any(|s| s.arrived)
        }
        Status::Failed => answered(|status| (400..500).contains(&status)) || counted as u32 >= COUNTED,
        Status::Abandoned => wish.is_some_and(|w| w.ended.iter().any(|end| *end > lsn)),
        Status::Pending | Status::Sending => false,
    };
    if !fair {
        let answers: Vec<_> = sent.iter().map(|s| s.answer).collect();
        let (status, error) = (delivery.status.as_str(), &delivery.last_error);
        let (name, of) = (&delivery.event, delivery.subscription);
        world.violated(format!(
            "delivery {id} of {name} at {lsn:x} for {of} is {status} ({error:?}) after answers {answers:?}"
        ));
    }
    // one whose body could not be read is on record and was not sent
    let unsent =
        |number| delivery.log.iter().any(|a| a.number == number && a.outcome.answer == Err(Failure::Local));
    let steps = sent.windows(2).all(|pair| {
        let again = pair[1].attempt == pair[0].attempt && pair[1].life > pair[0].life;
        again || (pair[0].attempt < pair[1].attempt && (pair[0].attempt + 1..pair[1].attempt).all(unsent))
    });
    if !steps || sent.first().is_some_and(|first| !(1..first.attempt).all(unsent)) {
        let numbers: Vec<_> = sent.iter().map(|s| (s.life, s.attempt)).collect();
        let recorded: Vec<_> = delivery.log.iter().map(|a| (a.number, a.outcome.answer)).collect();
        world.violated(format!(
            "delivery {id}: attempts are numbered (life, number) {numbers:?}, and on record are {recorded:?}"
        ));
    }
    waits_as_asked(world, delivery, sent);
    for one in sent {
        let known = wish.is_some_and(|w| {
            w.urls.contains(&one.url)
                && !one.secrets.is_empty()
                && one.secrets.iter().all(|s| w.secrets.contains(s))
                && w.headers.contains(&one.headers)
        });
        if !known {
            world.violated(format!(
                "delivery {id} went to {} with a secret or headers never asked for",
                one.url
            ));
        }
    }
}

/// `Retry-After` is honoured by the life that heard it, whoever takes the failure; a clock that was set meanwhile excuses it.
fn waits_as_asked(world: &World, delivery: &Delivery, sent: &[&Sent]) {
    for pair in sent.windows(2) {
        let (one, two) = (pair[0], pair[1]);
        let (Some((clock_sets, wait)), Some(ended)) = (one.asked, one.ended_ms) else { continue };
        let heard = one.life == two.life && clock_sets == two.clock_sets;
        if heard && two.began_ms < ended + wait {
            let (id, early) = (delivery.key.id, ended + wait - two.began_ms);
            world.violated(format!("{id} is tried again {early} ms before its receiver's Retry-After"));
        }
    }
}

/// Deliveries of one (subscription, resource) are attempted one at a time and in commit order, crashes or not.
fn order_is_kept(
    world: &World,
    truth: &Truth,
    by_id: &BTreeMap<DeliveryId, &(Delivery, Arc<Event>)>,
    log: &[Sent],
) {
    let mut last: BTreeMap<(String, String, String), &Sent> = BTreeMap::new();
    for sent in log {
        let Some((delivery, event)) = by_id.get(&sent.delivery) else { continue };
        let Some(resource) = &event.resource else { continue };
        let subscription = delivery.subscription.to_string();
        if !truth.wishes.get(&subscription).is_some_and(|w| w.ordered) {
            continue;
        }
        let lane = (subscription, resource.kind.clone(), resource.id.clone());
        if let Some(before) = last.insert(lane, sent) {
            if sent.sequence < before.sequence {
                let (late, early) = (sent.delivery, before.delivery);
                world.violated(format!("{late} is attempted after {early}, which was committed later"));
            }
            if before.life == sent.life && before.ended_ms.is_none_or(|end| end > sent.began_ms) {
                let (one, two) = (before.delivery, sent.delivery);
                world.violated(format!("{one} and {two} of one resource are attempted at the same time"));
            }
        }
    }
}
