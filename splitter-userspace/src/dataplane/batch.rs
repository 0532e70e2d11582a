//! Reads a whole hash table with few system calls (`BPF_MAP_LOOKUP_BATCH`, Linux 5.6), which aya does not offer.
//!
//! A bucket is copied under its lock, so an entry that is there throughout is never missed, as it can be by
//! `BPF_MAP_GET_NEXT_KEY` when its neighbours change (`__htab_map_lookup_and_delete_batch`,
//! kernel/bpf/hashtab.c).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;

/// Entries asked for at once; doubled when a single bucket holds more (`ENOSPC`).
const AT_ONCE: usize = 4096;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`, include/uapi/linux/bpf.h.
const LOOKUP_BATCH: libc::c_long = 24;

/// The `batch` member of `union bpf_attr`, include/uapi/linux/bpf.h.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// All entries of a table whose keys are `K` and values `V`: what aya's typed handle was made for.
///
/// # Errors
/// What the kernel says.
pub fn entries<K: Pod + Default, V: Pod + Default>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let (mut keys, mut values) = (vec![K::default(); AT_ONCE], vec![V::default(); AT_ONCE]);
    let mut position: Option<u64> = None;
    let mut found = Vec::new();
    loop {
        let outcome = lookup(map, &mut position, &mut keys, &mut values);
        match outcome {
            Ok((count, more)) => {
                found.extend(keys[..count].iter().copied().zip(values[..count].iter().copied()));
                if !more {
                    return Ok(found);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                keys.resize(keys.len() * 2, K::default());
                values.resize(values.len() * 2, V::default());
            }
            Err(error) => return Err(error),
        }
    }
}

/// One call: how many entries came, and whether there are more. `position` is the kernel's: a bucket's number.
fn lookup<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    position: &mut Option<u64>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<(usize, bool)> {
    let (start, mut next) = (*position, 0u64);
    let mut attributes = Attributes {
        in_batch: start.as_ref().map_or(0, |position| std::ptr::from_ref(position) as u64),
        out_batch: std::ptr::from_mut(&mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len() as u32,
        map_fd: map.as_raw_fd() as u32,
        ..Attributes::default()
    };
    // SAFETY: every pointer leads to memory that lives through the call; `count` is the length of both arrays;
    // key and value sizes were compared with the map's when aya made the typed handle.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            LOOKUP_BATCH,
            std::ptr::from_mut(&mut attributes),
            size_of::<Attributes>(),
        )
    };
    let more = result == 0;
    if !more {
        let error = io::Error::last_os_error();
        // The end of the table; `count` entries came with it.
        if error.raw_os_error() != Some(libc::ENOENT) {
            return Err(error);
        }
    }
    *position = Some(next);
    Ok((attributes.count as usize, more))
}
