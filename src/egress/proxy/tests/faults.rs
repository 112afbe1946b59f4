//! Whose fault it is that there is no answer, and in which words, by what the connector reports.
use super::*;
use pingora_core::Error;
use std::io;

fn said(fault: AttemptFault) -> (Failure, String, bool) {
    (fault.failure, fault.detail, fault.stale)
}

#[test]
fn what_keeps_from_connecting_is_told_apart() {
    let no_descriptors = io::Error::from_raw_os_error(24);
    for (error, failure, detail) in [
        (Error::new(ErrorType::ConnectRefused), Failure::Connection, "the connection was refused"),
        (Error::new(ErrorType::ConnectNoRoute), Failure::Connection, "there is no route to the address"),
        (Error::explain(ErrorType::InvalidCert, "expired"), Failure::Tls, "InvalidCert expired"),
        (Error::explain(ErrorType::TLSHandshakeFailure, "alert"), Failure::Tls, "TLSHandshakeFailure alert"),
        (
            Error::explain(ErrorType::InternalError, "failed to parse domain: x"),
            Failure::Tls,
            "InternalError failed to parse domain: x",
        ),
        (Error::explain(ErrorType::InternalError, "other"), Failure::Connection, "InternalError other"),
        (
            Error::because(ErrorType::ConnectError, "connect", no_descriptors),
            Failure::Local,
            "no connection can be made from here: Too many open files (os error 24)",
        ),
    ] {
        assert_eq!(said(connect_fault(&error)), (failure, detail.to_owned(), false));
    }
}

#[test]
fn what_breaks_before_an_answer_may_be_sent_once_more_and_nonsense_may_not() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let broke = "the connection broke while waiting for the answer: connection reset";
    for (error, failure, detail, stale) in [
        (Error::new(ErrorType::InvalidHTTPHeader), Failure::Protocol, "the answer is no HTTP", false),
        (Error::new(ErrorType::H1Error), Failure::Protocol, "the answer is no HTTP", false),
        (
            Error::new(ErrorType::ConnectionClosed),
            Failure::Connection,
            "the connection was closed before an answer",
            true,
        ),
        (Error::because(ErrorType::ReadError, "read", reset()), Failure::Connection, broke, true),
        (Error::because(ErrorType::WriteError, "write", reset()), Failure::Connection, broke, true),
        (Error::explain(ErrorType::InternalError, "other"), Failure::Protocol, "InternalError other", false),
    ] {
        assert_eq!(said(read_fault(&error)), (failure, detail.to_owned(), stale));
    }
}
