//! What the program that is shipped is built with.

#![cfg(test)]

/// Wrong sums stop, and panics unwind so that they can be caught, in a release build and in the packages'
/// build; no code of ours is `unsafe`: shown by the manifest, and by a wrong sum in this very build.
#[test]
fn what_is_shipped_checks_its_sums() {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let release = &manifest["profile"]["release"];
    assert_eq!(release["overflow-checks"].as_bool(), Some(true));
    assert_eq!(release["panic"].as_str(), Some("unwind"));
    let dist = manifest["profile"]["dist"].as_table().unwrap();
    assert_eq!(dist["inherits"].as_str(), Some("release"));
    assert!(!dist.contains_key("overflow-checks") && !dist.contains_key("panic"));
    assert_eq!(
        manifest["lints"]["rust"]["unsafe_code"].as_str(),
        Some("forbid")
    );
    let sum = std::panic::catch_unwind(|| std::hint::black_box(u8::MAX) + std::hint::black_box(1));
    assert!(sum.is_err());
}
