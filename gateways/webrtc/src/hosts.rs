//! Addresses at which peers reach us although no interface has them: as they were given, and what names stand for now.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::listen::Shared;

/// How often names are looked up: as long as dynamic DNS keeps an answer for.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long one answer may take.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Most addresses that one name may stand for.
const ADDRESSES_MAX: usize = 8;

/// The addresses of one listener.
#[derive(Debug)]
pub(crate) struct Hosts {
    given: Vec<IpAddr>,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    text: String,
    found: Mutex<Vec<IpAddr>>,
}

impl Hosts {
    pub(crate) fn new(given: Vec<IpAddr>, names: Vec<(String, Vec<IpAddr>)>) -> Self {
        let names = names.into_iter().map(|(text, found)| Name { text, found: Mutex::new(found) });
        Self { given, names: names.collect() }
    }

    /// All of them as of now.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = self.given.clone();
        for name in &self.names {
            addresses.extend(name.found.lock().unwrap_or_else(PoisonError::into_inner).iter());
        }
        addresses
    }

    /// Looks all names up. A name that cannot be found stands for what it stood for.
    async fn refresh(&self) {
        for name in &self.names {
            let looking = tokio::net::lookup_host((name.text.as_str(), 0));
            let found = match tokio::time::timeout(LOOKUP_LIMIT, looking).await {
                Ok(Ok(found)) => found.map(|address| address.ip()).take(ADDRESSES_MAX).collect::<Vec<_>>(),
                Ok(Err(error)) => {
                    warn!(name = name.text, %error, "a name of this host is not found");
                    continue;
                }
                Err(_) => {
                    warn!(name = name.text, "nobody answers for a name of this host");
                    continue;
                }
            };
            let mut known = name.found.lock().unwrap_or_else(PoisonError::into_inner);
            let same = known.len() == found.len() && found.iter().all(|address| known.contains(address));
            if !same && !found.is_empty() {
                info!(name = name.text, addresses = ?found, "a name of this host has moved");
                *known = found;
            }
        }
    }
}

/// Looks names up again and again, until `stop`.
pub(crate) async fn follow(shared: Arc<Shared>, stop: CancellationToken) {
    if shared.hosts.names.is_empty() {
        return;
    }
    let following = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            shared.hosts.refresh().await;
        }
    };
    stop.run_until_cancelled(following).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `localhost` is looked up in a file.
    #[tokio::test]
    async fn names_stand_for_what_they_stand_for_now() {
        let before: IpAddr = [192, 0, 2, 1].into();
        let names = vec![("localhost".to_owned(), vec![before]), ("not a name".to_owned(), vec![before])];
        let hosts = Hosts::new(vec![[192, 0, 2, 9].into()], names);
        assert_eq!(hosts.addresses().len(), 3);
        hosts.refresh().await;
        let after = hosts.addresses();
        assert_eq!(after[0], IpAddr::from([192, 0, 2, 9]));
        assert!(after[1].is_loopback(), "{after:?}");
        assert_eq!(after.last(), Some(&before), "who cannot be found has not moved");
    }
}
