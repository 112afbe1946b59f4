//! Sealing, field by field.
use super::*;
use crate::domain::{Options, Pattern, TenantId};
use std::collections::BTreeMap;
use uuid::Uuid;

const API_KEY: Field<'_> = Field::Header("x-api-key");

fn sealer(byte: u8) -> Sealer {
    Sealer::from_base64(&STANDARD.encode([byte; 32])).unwrap()
}

fn id(n: u128) -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(n))
}

/// As an earlier version sealed secrets.
fn v1(byte: u8, clear: &str) -> Sealed {
    let nonce = [9; NONCE];
    let sealed = XChaCha20Poly1305::new(&[byte; 32].into()).encrypt(&nonce.into(), clear.as_bytes()).unwrap();
    Sealed::new(format!("sealed:v1:{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
}

fn subscription(secret: Option<Sealed>, headers: &[(&str, Sealed)]) -> Subscription {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Subscription {
        id: id(1),
        tenant: TenantId::new("t"),
        pattern: Pattern::Any,
        url: "https://a.example/".into(),
        secret,
        active: true,
        created_us: 0,
        updated_us: 0,
        options: Options { headers: headers.collect::<BTreeMap<_, _>>(), ..Options::default() },
    }
}

#[test]
fn what_is_sealed_opens_and_hides() {
    let secret = Secret::new("whsec_abcdefgh");
    for field in [Field::Secret, API_KEY] {
        let sealed = sealer(1).seal(id(1), field, &secret, [7; 24]);
        assert!(sealed.as_str().starts_with("sealed:v2:") && !sealed.as_str().contains("abcdefgh"));
        assert!(Sealer::is_sealed(sealed.as_str()) && Sealer::well_formed(field, sealed.as_str()));
        assert_eq!(sealer(1).open(id(1), field, &sealed), Ok(secret.clone()));
        assert_eq!(sealer(2).open(id(1), field, &sealed), Err(SealError::WrongKey));
        assert_eq!(Sealer::plaintext().open(id(1), field, &sealed), Err(SealError::WrongKey));
        assert_ne!(sealer(1).seal(id(1), field, &secret, [8; 24]), sealed);
        assert_eq!(Sealer::plaintext().seal(id(1), field, &secret, [7; 24]).as_str(), "whsec_abcdefgh");
        assert_eq!(sealer(1).open(id(1), field, &Sealed::new("clear-text")), Ok(Secret::new("clear-text")));
    }
}

#[test]
fn a_sealed_value_opens_only_where_it_was_sealed_for() {
    let fields = [Field::Secret, API_KEY, Field::Header("authorization"), Field::Header("")];
    for own in fields {
        let sealed = sealer(1).seal(id(1), own, &Secret::new("12345678"), [7; 24]);
        for (subscription, field) in fields.iter().flat_map(|field| [(id(1), *field), (id(2), *field)]) {
            let opens = sealer(1).open(subscription, field, &sealed).is_ok();
            assert_eq!(
                opens,
                subscription == id(1) && field == own,
                "{own:?} as {field:?} of {subscription}"
            );
        }
    }
}

#[test]
fn a_secret_of_an_earlier_version_opens_as_a_secret_and_as_nothing_else() {
    let sealed = v1(1, "12345678");
    assert!(Sealer::is_sealed(sealed.as_str()) && Sealer::well_formed(Field::Secret, sealed.as_str()));
    assert_eq!(sealer(1).open(id(1), Field::Secret, &sealed), Ok(Secret::new("12345678")));
    assert_eq!(sealer(2).open(id(1), Field::Secret, &sealed), Err(SealError::WrongKey));
    assert!(!Sealer::well_formed(API_KEY, sealed.as_str()));
    assert_eq!(sealer(1).open(id(1), API_KEY, &sealed), Err(SealError::Malformed));
    // nor may the newer form be passed off as the older one
    let newer = sealer(1).seal(id(1), Field::Secret, &Secret::new("12345678"), [7; 24]);
    let older = Sealed::new(newer.as_str().replace("sealed:v2:", "sealed:v1:"));
    assert_eq!(sealer(1).open(id(1), Field::Secret, &older), Err(SealError::WrongKey));
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let sealed = sealer(1).seal(id(1), API_KEY, &Secret::new("12345678"), [7; 24]);
    let bytes = STANDARD.decode(&sealed.as_str()[V2.len()..]).unwrap();
    let open = |bytes: &[u8]| {
        sealer(1).open(id(1), API_KEY, &Sealed::new(format!("{V2}{}", STANDARD.encode(bytes))))
    };
    for bit in 0..bytes.len() * 8 {
        let mut bent = bytes.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&bent), Err(SealError::WrongKey), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "{len} bytes");
    }
    for bad in ["sealed:v1:%%", "sealed:v2:%%", "sealed:v2:"] {
        assert_eq!(sealer(1).open(id(1), API_KEY, &Sealed::new(bad)), Err(SealError::Malformed));
    }
}

#[test]
fn a_row_is_sealed_the_same_again_and_no_two_fields_alike() {
    let secret = Secret::new("12345678");
    let seal = |id, field, secret: &Secret| sealer(1).seal_row(id, field, secret);
    assert_eq!(seal(id(1), API_KEY, &secret), seal(id(1), API_KEY, &secret));
    assert_ne!(seal(id(1), API_KEY, &secret), seal(id(2), API_KEY, &secret));
    assert_ne!(seal(id(1), API_KEY, &secret), seal(id(1), Field::Secret, &secret));
    assert_ne!(seal(id(1), API_KEY, &secret), seal(id(1), API_KEY, &Secret::new("12345679")));
    assert_eq!(sealer(1).open(id(1), API_KEY, &seal(id(1), API_KEY, &secret)), Ok(secret));
}

#[test]
fn what_is_clear_in_a_subscription_is_sealed_and_nothing_else() {
    let old = v1(1, "12345678");
    let clear = subscription(Some(old.clone()), &[("authorization", Sealed::new("Bearer hunter2"))]);
    let sealed = sealer(1).seal_clear(&clear).expect("a header is clear");
    assert_eq!(sealed.secret, Some(old));
    let value = &sealed.options.headers["authorization"];
    assert!(Sealer::is_sealed(value.as_str()));
    let field = Field::Header("authorization");
    assert_eq!(sealer(1).open(id(1), field, value), Ok(Secret::new("Bearer hunter2")));
    assert!(holds_sealed(&clear) && holds_sealed(&sealed));
    assert_eq!(sealer(1).seal_clear(&sealed), None);
    assert_eq!(Sealer::plaintext().seal_clear(&clear), None);
    assert!(sealer(1).seal_clear(&subscription(Some(Sealed::new("12345678")), &[])).is_some());
    let bare = subscription(None, &[]);
    assert!(sealer(1).seal_clear(&bare).is_none() && !holds_sealed(&bare));
}

#[test]
fn a_key_fits_what_it_opens() {
    let bare = subscription(None, &[("x-api-key", Sealed::new("clear"))]);
    let old = subscription(Some(v1(1, "12345678")), &[]);
    let foreign = subscription(Some(v1(2, "12345678")), &[]);
    assert!(sealer(1).fits(&[]) && sealer(1).fits(std::slice::from_ref(&bare)));
    assert!(sealer(1).fits(&[bare.clone(), foreign.clone(), old]));
    assert!(!sealer(1).fits(&[bare, foreign]));
}

#[test]
fn another_id_takes_the_credentials_along() {
    let value = sealer(1).seal(id(1), API_KEY, &Secret::new("k"), [7; 24]);
    let foreign = sealer(2).seal(id(1), API_KEY, &Secret::new("k"), [7; 24]);
    let renamed =
        sealer(1).rename(&subscription(None, &[("x-api-key", value), ("x-other", foreign.clone())]), id(2));
    assert_eq!(renamed.id, id(2));
    let headers = &renamed.options.headers;
    assert_eq!(sealer(1).open(id(2), API_KEY, &headers["x-api-key"]), Ok(Secret::new("k")));
    assert_eq!(headers["x-other"], foreign, "what cannot be opened stays");
}

#[test]
fn keys_are_32_bytes_of_base64() {
    for bad in ["", "x", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
        assert_eq!(Sealer::from_base64(bad).err(), Some(SealError::BadKey), "{bad}");
    }
    assert!(Sealer::from_base64(&format!("{}\n", STANDARD.encode([0; 32]))).is_ok());
}
