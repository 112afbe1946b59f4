//! What was owed against what came. Pure but for reading the audit table; knows no kill.
use super::arrivals::{Arrival, Arrived};
use super::{REFUSED, WISHES, Wish};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use tailhook_demo::database::Database;

/// One row of the audit table.
#[derive(Debug)]
pub(crate) struct Owed {
    event: String,
    tenant: String,
    resource: String,
    turn: i32,
    state: Value,
    times: i32,
}

/// Reads the audit table.
pub(super) async fn owed(erp: &Database) -> Vec<Owed> {
    let sql = "SELECT event, tenant, resource, turn, state, times FROM audit.owed ORDER BY number";
    let rows = erp.client().query(sql, &[]).await.expect("the audit table");
    let read = |row: &tokio_postgres::Row| Owed {
        event: row.get(0),
        tenant: row.get(1),
        resource: row.get(2),
        turn: row.get(3),
        state: row.get(4),
        times: row.get(5),
    };
    rows.iter().map(read).collect()
}

/// What it comes to. The lists name what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Events that were owed, and how many times somebody wanted one.
    pub(crate) events: usize,
    pub(crate) deliveries: usize,
    /// Wanted, and never taken by the receiver.
    pub(crate) lost: Vec<String>,
    /// Came, and no commit owes it: rolled back, or a second id for the same event.
    pub(crate) unknown: Vec<String>,
    /// Says something else than the row at commit.
    pub(crate) wrong: Vec<String>,
    pub(crate) two_bodies: Vec<String>,
    pub(crate) unsigned: Vec<String>,
    /// Of one subscription and resource: came before an earlier one was taken.
    pub(crate) disordered: Vec<String>,
    pub(crate) requests: u64,
    /// Of them, for what was taken already.
    pub(crate) repeats: u64,
}

impl Verdict {
    pub(super) fn of(owed: &[Owed], arrived: &Arrived) -> Self {
        let mut verdict = Self {
            events: owed.len(),
            two_bodies: arrived.two_bodies.clone(),
            unsigned: arrived.unsigned.clone(),
            requests: arrived.requests,
            repeats: arrived.repeats,
            ..Self::default()
        };
        let mut unmet: HashMap<Key<'_>, &Owed> = HashMap::new();
        for owed in owed {
            for (wish, _) in WISHES.iter().enumerate().filter(|(_, wish)| is_wanted(wish, owed)) {
                verdict.deliveries += 1;
                let key = (wish, &*owed.event, &*owed.resource, owed.state["nth"].as_i64());
                unmet.insert(key, owed);
            }
        }
        let mut by_resource: HashMap<(usize, &str), Vec<(i32, &Arrival)>> = HashMap::new();
        for arrival in &arrived.list {
            let text = |name: &str| arrival.body[name].as_str().unwrap_or_default();
            let data = &arrival.body["data"];
            let key = (arrival.wish, text("event"), text("resource_id"), data["nth"].as_i64());
            let Some(owed) = unmet.remove(&key) else {
                verdict.unknown.push(format!("{} {key:?}", arrival.id));
                continue;
            };
            if owed.state != *data || owed.tenant != text("tenant_id") || arrival.id != text("id") {
                verdict.wrong.push(format!("{} instead of {owed:?}", arrival.body));
            }
            if arrival.taken.is_none() && key.0 != REFUSED || arrival.times < owed.times {
                verdict.lost.push(format!(
                    "{} {key:?} came {} times, taken: {:?}",
                    arrival.id, arrival.times, arrival.taken
                ));
            }
            by_resource.entry((key.0, key.2)).or_default().push((owed.turn, arrival));
        }
        verdict.lost.extend(unmet.keys().map(|key| format!("{key:?}")));
        for (of, list) in by_resource {
            verdict.disordered.extend(disorder(list).map(|why| format!("{of:?}: {why}")));
        }
        verdict
    }

    /// Nothing was lost, invented, altered or put before another.
    pub(crate) fn is_fine(&self) -> bool {
        self.deliveries > 0 && self.faults().iter().all(|(_, list)| list.is_empty())
    }

    fn faults(&self) -> [(&'static str, &Vec<String>); 6] {
        [
            ("lost", &self.lost),
            ("unknown ids", &self.unknown),
            ("ids with two bodies", &self.two_bodies),
            ("order violated", &self.disordered),
            ("wrong bodies", &self.wrong),
            ("wrong signatures", &self.unsigned),
        ]
    }
}

/// Subscription, event, resource, and the row's own count.
type Key<'a> = (usize, &'a str, &'a str, Option<i64>);

fn is_wanted(wish: &Wish, owed: &Owed) -> bool {
    wish.wants(&owed.tenant, &owed.event)
}

/// Sequences must rise with the turns, and none may come before the one before it was taken.
fn disorder(mut list: Vec<(i32, &Arrival)>) -> impl Iterator<Item = String> {
    list.sort_by(|(_, a), (_, b)| a.sequence.cmp(&b.sequence));
    let wrong = |pair: &[(i32, &Arrival)]| {
        let [(turn, first), (next_turn, next)] = pair else { return None };
        let early = first.taken.is_none_or(|taken| next.at < taken);
        let backwards = turn > next_turn || first.sequence == next.sequence;
        (early || backwards).then(|| format!("turn {next_turn} {next:?} after turn {turn} {first:?}"))
    };
    list.windows(2).filter_map(wrong).collect::<Vec<_>>().into_iter()
}

/// A table, and the first of everything that is wrong.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<22}{:>9}", "events owed", self.events)?;
        writeln!(f, "{:<22}{:>9}", "deliveries", self.deliveries)?;
        for (name, list) in self.faults() {
            writeln!(f, "{name:<22}{:>9}", list.len())?;
        }
        writeln!(f, "{:<22}{:>9}", "requests", self.requests)?;
        writeln!(f, "{:<22}{:>9}", "of them repeats", self.repeats)?;
        for (name, list) in self.faults() {
            for one in list.iter().take(3) {
                writeln!(f, "  {name}: {one}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SECRET, TENANTS};
    use super::*;
    use serde_json::json;
    use tailhook::domain::Secret;
    use tailhook::egress::sign::sign;
    use tailhook_demo::receiver::{Manner, Received};

    fn owed(turn: i32) -> Owed {
        let text = str::to_owned;
        let state = json!({ "nth": turn });
        Owed {
            event: text("order.created"),
            tenant: text(TENANTS[0]),
            resource: text("r"),
            turn,
            state,
            times: 1,
        }
    }
    /// As the first subscription gets it; `altered` changes the body, `secret` signs it.
    fn came(turn: i32, id: &str, manner: Manner, altered: &str, secret: &str) -> Received {
        let body = json!({
            "id": id, "event": "order.created", "tenant_id": TENANTS[0], "resource_id": "r",
            "data": { "nth": turn }, "more": altered
        });
        let body = body.to_string();
        let signed = sign(id, 1, body.as_bytes(), &[Secret::new(secret)]).unwrap();
        let mut headers = http::HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id),
            ("x-event-sequence", &format!("{turn}")),
            ("webhook-timestamp", "1"),
            ("webhook-signature", &signed.webhook_signature),
            ("x-signature", &signed.x_signature),
        ] {
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        Received {
            at: tokio::time::Instant::now(),
            path: "/0".to_owned(),
            headers,
            body: body.into(),
            manner,
        }
    }

    /// The null control of the judge: each kind of fault is seen, and a good day is not called bad.
    #[test]
    fn each_fault_is_seen() {
        let ok = Manner::Status(200);
        let good = |turn, id| came(turn, id, ok, "", SECRET);
        for (fault, requests) in [
            ("", vec![good(1, "a"), good(2, "b")]),
            ("", vec![came(1, "a", Manner::HangUp, "", SECRET), good(1, "a"), good(2, "b"), good(2, "b")]),
            ("lost", vec![good(1, "a")]),
            ("lost", vec![good(1, "a"), came(2, "b", Manner::Status(500), "", SECRET)]),
            ("unknown ids", vec![good(1, "a"), good(2, "b"), good(3, "c")]),
            ("unknown ids", vec![good(1, "a"), good(2, "b"), good(2, "c")]),
            ("ids with two bodies", vec![good(1, "a"), came(1, "a", ok, "x", SECRET), good(2, "b")]),
            ("order violated", vec![good(2, "b"), good(1, "a")]),
            (
                "order violated",
                vec![came(1, "a", Manner::Status(500), "", SECRET), good(2, "b"), good(1, "a")],
            ),
            ("wrong signatures", vec![came(1, "a", ok, "", "another secret"), good(2, "b")]),
        ] {
            let mut arrived = Arrived::default();
            for request in &requests {
                arrived.take(request);
            }
            let verdict = Verdict::of(&[owed(1), owed(2)], &arrived);
            let found: Vec<_> =
                verdict.faults().iter().filter(|(_, list)| !list.is_empty()).map(|(name, _)| *name).collect();
            assert_eq!(found.join(", "), fault, "{verdict}");
            assert_eq!(verdict.is_fine(), fault.is_empty());
        }
        let mut arrived = Arrived::default();
        for request in [good(1, "a"), good(2, "b")] {
            arrived.take(&request);
        }
        let mut other = owed(2);
        other.state["status"] = json!("paid");
        assert_eq!(Verdict::of(&[owed(1), other], &arrived).wrong.len(), 1);
    }
}
