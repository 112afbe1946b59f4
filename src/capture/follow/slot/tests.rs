//! Every row of SPEC 5.7, and which gap an operator's range names.
use super::*;

const POSITION: Lsn = Lsn(100);

fn identity() -> Identity {
    Identity {
        system_id: "1".into(),
        timeline: 1,
        database: "erp".into(),
        slot: "tailhook".into(),
        publication: "tailhook".into(),
        epoch: [0; 16],
        shadow_plan: String::new(),
    }
}

fn state() -> SlotState {
    SlotState {
        plugin: "pgoutput".into(),
        database: "erp".into(),
        confirmed: Lsn(90),
        restart: Some(Lsn(80)),
        wal_status: "reserved".into(),
        active_pid: None,
    }
}

fn survey(slot: Option<SlotState>) -> Survey {
    Survey {
        system_id: "1".into(),
        timeline: 1,
        wal_end: Lsn(200),
        database: "erp".into(),
        slot,
        history: Vec::new(),
        unreadable: None,
    }
}

/// The verdict in short: a gap's range and one word of its reason.
fn judged(memory: KnownHistory<'_>, change: impl Fn(&mut Survey)) -> String {
    let mut survey = survey(Some(state()));
    change(&mut survey);
    match judge("tailhook", memory, &survey) {
        Verdict::Gap(gap) => format!("{gap}: {}", gap.reason),
        other => format!("{other:?}"),
    }
}

fn slot(survey: &mut Survey) -> &mut SlotState {
    survey.slot.as_mut().expect("a slot")
}

type Row = (&'static str, fn(&mut Survey), &'static str);

#[test]
fn after_a_loss_nothing_is_followed() {
    let lost = Identity { epoch: Identity::LOST, ..identity() };
    let verdict = judged(KnownHistory::Following(&lost, POSITION), |s| slot(s).confirmed = Lsn(100));
    assert!(verdict.starts_with("0/64-0/C8: ") && verdict.contains("--salvage"), "{verdict}");
}

#[test]
fn while_a_history_is_followed() {
    let rows: [Row; 20] = [
        ("all well", |_| {}, "Start { from: Lsn(100) }"),
        ("confirmed is our position", |s| slot(s).confirmed = Lsn(100), "Start"),
        ("WAL ends at our position", |s| s.wal_end = Lsn(100), "Start"),
        ("busy", |s| slot(s).active_pid = Some(7), "Wait { pid: 7 }"),
        ("slot missing", |s| s.slot = None, "0/64-0/C8: slot \"tailhook\" does not exist"),
        ("slot lost", |s| slot(s).wal_status = "lost".into(), "0/64-0/C8: slot \"tailhook\" has lost"),
        ("no restart LSN", |s| slot(s).restart = None, "0/64-0/C8: slot \"tailhook\" has lost"),
        ("slot ahead", |s| slot(s).confirmed = Lsn(101), "0/64-0/65: slot \"tailhook\" was advanced"),
        (
            "ahead and busy",
            |s| (slot(s).confirmed, slot(s).active_pid) = (Lsn(150), Some(7)),
            "0/64-0/96: slot \"tailhook\" was advanced",
        ),
        ("another cluster", |s| s.system_id = "2".into(), "0/64-0/C8: this is another cluster"),
        ("another database", |s| s.database = "other".into(), "0/64-0/C8: this is database \"other\""),
        (
            "slot of another database",
            |s| slot(s).database = "x".into(),
            "0/64-0/C8: slot \"tailhook\" is not ours",
        ),
        (
            "another plugin",
            |s| slot(s).plugin = "wal2json".into(),
            "0/64-0/C8: slot \"tailhook\" is not ours",
        ),
        (
            "older copy restored",
            |s| s.wal_end = Lsn(99),
            "0/63-0/64: the server's WAL ends before our position",
        ),
        (
            "older copy, slot gone",
            |s| (s.wal_end, s.slot) = (Lsn(99), None),
            "0/63-0/64: the server's WAL ends before our position",
        ),
        ("its publication was dropped", |s| s.unreadable = Some("dropped".to_owned()), "0/64-0/C8: dropped"),
        ("promoted after our position", |s| (s.timeline, s.history) = (2, vec![(1, Lsn(100))]), "Start"),
        ("promoted twice", |s| (s.timeline, s.history) = (3, vec![(1, Lsn(120)), (2, Lsn(150))]), "Start"),
        (
            "promoted before our position",
            |s| (s.timeline, s.history) = (2, vec![(1, Lsn(99))]),
            "0/63-0/64: timeline 2 left ours (1) at 0/63",
        ),
        (
            "unknown timeline",
            |s| s.timeline = 2,
            "0/64-0/C8: the server is on timeline 2, which does not descend",
        ),
    ];
    let identity = identity();
    for (name, change, expected) in rows {
        let verdict = judged(KnownHistory::Following(&identity, POSITION), change);
        assert!(verdict.starts_with(expected), "{name}: {verdict}");
    }
    let renamed = Identity { slot: "old".into(), ..identity };
    let verdict = judged(KnownHistory::Following(&renamed, POSITION), |_| {});
    assert!(
        verdict.starts_with("0/64-0/C8: database.slot is \"tailhook\", we followed \"old\""),
        "{verdict}"
    );
}

#[test]
fn before_anything_is_followed() {
    let identity = identity();
    let empty: [Row; 3] = [
        ("fresh", |s| s.slot = None, "FirstStart"),
        ("beside a slot", |_| {}, "0/5A-0/C8: the data folder is empty"),
        ("beside a busy slot", |s| slot(s).active_pid = Some(7), "0/5A-0/C8: the data folder is empty"),
    ];
    for (name, change, expected) in empty {
        let verdict = judged(KnownHistory::Empty, change);
        assert!(verdict.starts_with(expected), "{name}: {verdict}");
    }
    let filling: [Row; 6] = [
        ("no slot made yet", |s| s.slot = None, "FirstStart"),
        ("slot made", |_| {}, "Refill"),
        ("slot made and lost", |s| slot(s).restart = None, "Refill"),
        ("somebody is in it", |s| slot(s).active_pid = Some(7), "Wait { pid: 7 }"),
        ("another cluster's slot", |s| s.system_id = "2".into(), "0/5A-0/C8: the first snapshot was begun"),
        ("another plugin's slot", |s| slot(s).plugin = "x".into(), "0/5A-0/C8: the first snapshot was begun"),
    ];
    for (name, change, expected) in filling {
        let verdict = judged(KnownHistory::Filling(&identity), change);
        assert!(verdict.starts_with(expected), "{name}: {verdict}");
    }
}

#[test]
fn which_range_accepts_a_gap() {
    let gap = |moving| Gap { from: Lsn(0x10), to: Lsn(0x20), moving, reason: String::new() };
    for (moving, range, accepted) in [
        (Moving::Neither, "0/10-0/20", true),
        (Moving::Neither, " 0/10 - 0/20 ", true),
        (Moving::Neither, "0/10-0/21", false),
        (Moving::Neither, "0/10-0/1F", false),
        (Moving::Neither, "0/11-0/20", false),
        (Moving::To, "0/10-0/20", true),
        (Moving::To, "0/10-0/18", true),
        (Moving::To, "0/10-0/21", false),
        (Moving::To, "0/10-0/F", false),
        (Moving::To, "0/F-0/20", false),
        (Moving::From, "0/8-0/20", true),
        (Moving::From, "0/11-0/20", false),
        (Moving::From, "0/10-0/1F", false),
        (Moving::Neither, "", false),
        (Moving::Neither, "0/10", false),
        (Moving::Neither, "all", false),
    ] {
        assert_eq!(gap(moving).is_accepted_by(range), accepted, "{moving:?} {range}");
    }
    assert_eq!(gap(Moving::To).to_string(), "0/10-0/20");
}
