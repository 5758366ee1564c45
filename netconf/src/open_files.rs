//! How many files, sockets among them, a process may have open: a session is one, and a node's tunnel has about eight.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit (`RLIMIT_NOFILE`) as far as the administrator lets it be raised: the soft one to the hard one. Where the kernel
/// refuses, the limit is what it was, and the log says so.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let mut limit = getrlimit(Resource::Nofile);
        // Other tests of this process notice nothing of one less.
        limit.current = Some(limit.maximum.map_or(1 << 19, |hard| hard - 1));
        setrlimit(Resource::Nofile, limit).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
