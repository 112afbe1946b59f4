//! Signatures as others check them: openssl, and the official Standard Webhooks verifier.
use crate::rig::{RULES, Rig, SECRET, TENANT};
use std::io::Write;
use std::process::{Command, Stdio};

fn openssl(body: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl");
    child.stdin.take().unwrap().write_all(body).unwrap();
    let printed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    printed.rsplit(' ').next().unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_and_the_official_verifier_agree() {
    let rig = Rig::subscribed(RULES).await;
    let insert =
        format!("INSERT INTO invoices (number, total, tenant_id) VALUES ('Ñandú \"1\"', 1e21, '{TENANT}')");
    rig.erp.run(&insert).await.unwrap();
    rig.inbox.until("the event", |inbox| inbox.look(|all| !all.is_empty())).await;
    let (headers, body) = rig.inbox.look(|all| (all[0].headers.clone(), all[0].body.clone()));
    assert_eq!(headers["x-signature"].to_str().unwrap(), format!("sha256={}", openssl(&body)));
    // that crate takes a key in base64: ours is the secret's bytes
    let verifier = standardwebhooks::Webhook::from_bytes(SECRET.as_bytes().to_vec()).unwrap();
    verifier.verify(&body, &headers).expect("verified");
    assert!(verifier.verify(b"{}", &headers).is_err());

    let lines: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
    let (head, payload) = (rig.folder.path().join("headers"), rig.folder.path().join("body"));
    std::fs::write(&head, lines.join("\n")).unwrap();
    std::fs::write(&payload, &body).unwrap();
    if let Some(keep) = std::env::var_os("KEEP_REQUEST") {
        // for tools/verify-in-python
        std::fs::copy(&head, std::path::Path::new(&keep).join("headers")).unwrap();
        std::fs::copy(&payload, std::path::Path::new(&keep).join("body")).unwrap();
    }
    let (head, payload) = (head.to_str().unwrap(), payload.to_str().unwrap());
    let verify = |secret| rig.tool(&["verify", "--secret", secret, "--headers", head, "--body", payload]);
    assert!(verify(SECRET).0.success());
    assert_eq!(verify("another secret").0.code(), Some(1));
}
