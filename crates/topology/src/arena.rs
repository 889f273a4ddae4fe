//! Typed arenas: a topology's resources refer to each other by [`Handle`].
//!
//! A handle is an index that knows what it points at, so that a subnet can never be passed where a
//! route table is meant. Handles belong to the one [`Topology`](crate::Topology) they were made
//! for; across two topologies, resources are matched by [`ResourceId`](crate::ResourceId).

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
    ops::{Index, IndexMut},
};

/// A reference to a `T` in the [`Arena`] that returned it.
pub struct Handle<T> {
    index: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// The handle that the arena's `index`th push will return: resources refer to each other in
    /// circles, so names get their handles before anything is built.
    pub(crate) const fn at(index: u32) -> Self {
        Self { index, kind: PhantomData }
    }

    /// The position in its arena.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

// Derives would demand the same of `T`, which a reference does not need.
impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<T> {}

impl<T> PartialEq for Handle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Handle<T> {}

impl<T> PartialOrd for Handle<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Handle<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> Hash for Handle<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

/// A growing list of resources of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arena<T>(Vec<T>);

impl<T> Arena<T> {
    /// Adds a resource and returns the handle by which others refer to it.
    ///
    /// # Panics
    ///
    /// When there are more than 2³² resources of one kind.
    pub fn push(&mut self, value: T) -> Handle<T> {
        let index = u32::try_from(self.0.len()).expect("fewer than 2^32 resources of a kind");
        self.0.push(value);
        Handle { index, kind: PhantomData }
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The resources with their handles, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (Handle<T>, &T)> {
        (0_u32..).zip(&self.0).map(|(index, value)| (Handle { index, kind: PhantomData }, value))
    }

    /// The resources, in the order in which they were added.
    pub fn values(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Index<Handle<T>> for Arena<T> {
    type Output = T;

    fn index(&self, handle: Handle<T>) -> &T {
        &self.0[handle.index()]
    }
}

impl<T> IndexMut<Handle<T>> for Arena<T> {
    fn index_mut(&mut self, handle: Handle<T>) -> &mut T {
        &mut self.0[handle.index()]
    }
}
