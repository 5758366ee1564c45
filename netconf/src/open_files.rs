//! How many files, sockets among them, a process may have open: a session is one, and a node's tunnel has about eight.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit (`RLIMIT_NOFILE`) as far as the administrator lets it be raised: the soft one to the hard one. Answers how
/// many there may be now; `None` where nothing limits them.
///
/// # Errors
/// The kernel refuses. The limit is what it was.
pub fn raise_limit() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
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
        assert_eq!(raise_limit().unwrap(), limit.maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
