//! Values that all workers share, one for each pool or backend.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A map of weakly held values: a value lives as long as something holds its [`Arc`]. The value of
/// a pool or backend that was removed is freed with the last request that uses it.
#[derive(Debug)]
pub(super) struct Registry<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K, V> Default for Registry<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, V: Default> Registry<K, V> {
    /// Returns the value for a key, creating it if nothing holds a value for that key.
    pub(super) fn get_or_create(&self, key: &K) -> Arc<V> {
        let mut values = self.values();
        if let Some(value) = values.get(key).and_then(Weak::upgrade) {
            return value;
        }
        values.retain(|_, value| value.strong_count() > 0);
        let value = Arc::<V>::default();
        values.insert(key.clone(), Arc::downgrade(&value));
        value
    }

    /// Returns the value for a key; `None` if nothing holds a value for that key.
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.values().get(key).and_then(Weak::upgrade)
    }

    fn values(&self) -> MutexGuard<'_, HashMap<K, Weak<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_while_it_is_held_and_released_after_that() {
        let registry = Registry::<u8, Vec<u8>>::default();
        let (one, other) = (registry.get_or_create(&1), registry.get_or_create(&2));
        assert!(Arc::ptr_eq(&one, &registry.get_or_create(&1)) && !Arc::ptr_eq(&one, &other));
        drop(one);
        assert!(registry.get(&1).is_none() && registry.get(&2).is_some());
        let _third = registry.get_or_create(&3);
        assert_eq!(registry.values().len(), 2, "the first is forgotten");
    }
}
