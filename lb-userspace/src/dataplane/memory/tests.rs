//! Tests that mapped memory and system calls give access to the same values of a map. Without root,
//! which creating a BPF map requires, these tests do nothing.

use std::{os::fd::AsFd as _, sync::atomic::Ordering};

use aya::maps::{Array, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

use super::*;

/// Creates an array map of `entries` values of type `T`; returns `None` without root.
fn array<T>(entries: u32, flags: u32) -> Option<MapData> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let value = u32::try_from(size_of::<T>()).expect("a small value");
    let kind = BPF_MAP_TYPE_ARRAY as u32;
    let array = aya_obj::Map::new_from_params(kind, 4, value, entries, flags);
    Some(MapData::create(array, "memory", None).expect("the map is created"))
}

#[test]
fn what_is_stored_in_memory_is_read_by_system_calls_and_the_other_way_round() {
    let Some(map) = array::<u64>(1000, MMAPABLE) else {
        return;
    };
    let mapped = Mapped::open(map.fd().as_fd(), 8000).expect("it can be mapped");
    let mut map: Array<MapData, u64> = Map::Array(map).try_into().expect("an array");
    assert_eq!(mapped.words().len(), 1000);
    mapped.words()[0].store(17, Ordering::Release);
    mapped.words()[999].store(u64::MAX - 1, Ordering::Release);
    assert_eq!(map.get(&0, 0).expect("read"), 17);
    assert_eq!(map.get(&999, 0).expect("read"), u64::MAX - 1);
    map.set(500, 0x1111_2222_3333_4444, 0).expect("written");
    let word = mapped.words()[500].load(Ordering::Acquire);
    assert_eq!(word, 0x1111_2222_3333_4444);
}

#[test]
fn values_of_four_bytes_lie_eight_bytes_apart() {
    let Some(map) = array::<u32>(10, MMAPABLE) else {
        return;
    };
    let mapped = Mapped::open(map.fd().as_fd(), 80).expect("it can be mapped");
    let mut map: Array<MapData, u32> = Map::Array(map).try_into().expect("an array");
    map.set(3, 99, 0).expect("written");
    mapped.halves()[2 * 4].store(98, Ordering::Release);
    assert_eq!(mapped.halves().len(), 20);
    assert_eq!(mapped.halves()[2 * 3].load(Ordering::Acquire), 99);
    assert_eq!(map.get(&4, 0).expect("read"), 98);
}

#[test]
fn the_memory_outlives_the_file_descriptor() {
    let Some(map) = array::<u64>(1, MMAPABLE) else {
        return;
    };
    let mapped = Mapped::open(map.fd().as_fd(), 8).expect("it can be mapped");
    drop(map);
    mapped.words()[0].store(1, Ordering::Release);
    assert_eq!(mapped.words()[0].load(Ordering::Acquire), 1);
}

#[test]
fn threads_share_the_memory() {
    let Some(map) = array::<u64>(1, MMAPABLE) else {
        return;
    };
    let mapped = Mapped::open(map.fd().as_fd(), 8).expect("it can be mapped");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    mapped.words()[0].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(mapped.words()[0].load(Ordering::Relaxed), 20_000);
}

#[test]
fn more_than_the_map_has_nothing_at_all_and_other_maps_are_refused() {
    let page = page_size().expect("it is known");
    let Some(map) = array::<u64>(1, MMAPABLE) else {
        return;
    };
    for bytes in [0, page + 1, usize::MAX] {
        let refused = Mapped::open(map.fd().as_fd(), bytes);
        let error = refused.expect_err("not so many").to_string();
        assert!(error.contains(&format!("{bytes} bytes")), "{error}");
    }
    let Some(plain) = array::<u64>(1, 0) else {
        return;
    };
    Mapped::open(plain.fd().as_fd(), 8).expect_err("it is not mmapable");
}
