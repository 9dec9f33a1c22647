//! A table that reuses places but never reuses tokens.
//!
//! The places are in chunks. A chunk that is empty gives its memory back, wherever it is in the
//! table.

use std::num::NonZeroU32;

/// Names one value in a [`Slots`], and never a value that gets its place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    index: u32,
    /// Never zero, so that an `Option<Token>` is no larger than a token.
    generation: NonZeroU32,
}

impl Token {
    /// The token as the 64 bits that epoll carries. Never zero.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// `None` if the bits do not come from a token.
    pub(crate) fn from_bits(bits: u64) -> Option<Token> {
        // The casts take just the half that `to_bits` put there.
        #[allow(clippy::cast_possible_truncation)]
        let (generation, index) = ((bits >> 32) as u32, bits as u32);
        let generation = NonZeroU32::new(generation)?;
        Some(Token { index, generation })
    }
}

/// No place: marks the end of the list of free places. So it is never the index of a place.
const NONE: u32 = u32::MAX;

/// Places in a chunk. Few, so that one value that stays for long keeps little memory.
const CHUNK: usize = 32;

/// One more chunk would contain the index [`NONE`].
const MOST_CHUNKS: usize = NONE as usize / CHUNK;

/// A chunk is kept if one of its places was used more often than this. Otherwise every chunk that
/// is made later would start with this generation, and would soon use up its generations.
const MOST_PASSED_ON: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// `None`: a chunk without memory.
    chunks: Vec<Option<Box<Chunk<T>>>>,
    /// All chunks below this one have memory.
    lowest_empty: usize,
    /// The first place in the list of free places.
    free: u32,
    len: usize,
    /// How many chunks have memory.
    made: usize,
    /// The generation with which the places of a new chunk start. No token of a chunk that was
    /// given back has it.
    first_generation: NonZeroU32,
}

#[derive(Debug)]
struct Chunk<T> {
    slots: [Slot<T>; CHUNK],
    /// How many places are taken or given up.
    taken: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: NonZeroU32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Taken(T),
    /// In the list of free places. It is linked both ways, so that any place can leave it when its
    /// chunk is given back.
    Free {
        before: u32,
        after: u32,
    },
    /// It has used up its generations.
    GivenUp,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Slots<T> {
        Slots {
            chunks: Vec::new(),
            lowest_empty: 0,
            free: NONE,
            len: 0,
            made: 0,
            first_generation: NonZeroU32::MIN,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether every place that has an index is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.free == NONE && self.made >= MOST_CHUNKS
    }

    /// Adds a value. Do not call it if the table [is full](Self::is_full).
    pub(crate) fn insert(&mut self, value: T) -> Token {
        if self.free == NONE {
            self.make_chunk();
        }
        let index = self.free;
        self.leave_list(index);
        let mut generation = NonZeroU32::MIN;
        if let Some(slot) = self.slot_mut(index) {
            slot.content = Content::Taken(value);
            generation = slot.generation;
            self.len += 1;
        }
        if let Some(chunk) = self.chunk_mut(index) {
            chunk.taken += 1;
        }
        Token { index, generation }
    }

    pub(crate) fn get(&self, token: Token) -> Option<&T> {
        match self.slot(token.index)? {
            Slot {
                generation,
                content: Content::Taken(value),
            } if *generation == token.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        match self.slot_mut(token.index)? {
            Slot {
                generation,
                content: Content::Taken(value),
            } if *generation == token.generation => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<T> {
        self.get(token)?;
        let slot = self.slot_mut(token.index)?;
        // A place that has used up its generations is given up. Losing one place is better than
        // reusing a token.
        let next = slot.generation.checked_add(1);
        let content = std::mem::replace(&mut slot.content, Content::GivenUp);
        slot.generation = next.unwrap_or(slot.generation);
        self.len -= 1;
        if next.is_some() {
            self.enter_list(token.index);
            if let Some(chunk) = self.chunk_mut(token.index) {
                chunk.taken -= 1;
            }
            self.give_back(token.index as usize / CHUNK);
        }
        match content {
            Content::Taken(value) => Some(value),
            Content::Free { .. } | Content::GivenUp => None,
        }
    }

    /// The tokens of all values.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> {
        let chunks = (0..NONE).step_by(CHUNK).zip(&self.chunks);
        chunks.flat_map(|(first, chunk)| {
            let slots = chunk.iter().flat_map(|chunk| &chunk.slots);
            (first..).zip(slots).filter_map(|(index, slot)| {
                matches!(slot.content, Content::Taken(_)).then_some(Token {
                    index,
                    generation: slot.generation,
                })
            })
        })
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        let chunk = self.chunks.get(index as usize / CHUNK)?.as_ref()?;
        chunk.slots.get(index as usize % CHUNK)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        let chunk = self.chunk_mut(index)?;
        chunk.slots.get_mut(index as usize % CHUNK)
    }

    fn chunk_mut(&mut self, index: u32) -> Option<&mut Chunk<T>> {
        self.chunks.get_mut(index as usize / CHUNK)?.as_deref_mut()
    }

    /// Adds a place at the head of the list of free places.
    fn enter_list(&mut self, index: u32) {
        let head = std::mem::replace(&mut self.free, index);
        if let Some(slot) = self.slot_mut(index) {
            slot.content = Content::Free {
                before: NONE,
                after: head,
            };
        }
        if let Some(Slot {
            content: Content::Free { before, .. },
            ..
        }) = self.slot_mut(head)
        {
            *before = index;
        }
    }

    /// Removes a place from the list of free places.
    fn leave_list(&mut self, index: u32) {
        let Some(&Slot {
            content: Content::Free { before, after },
            ..
        }) = self.slot(index)
        else {
            return;
        };
        match self.slot_mut(before) {
            Some(Slot {
                content: Content::Free { after: next, .. },
                ..
            }) => *next = after,
            _ => self.free = after,
        }
        if let Some(Slot {
            content: Content::Free {
                before: previous, ..
            },
            ..
        }) = self.slot_mut(after)
        {
            *previous = before;
        }
    }

    /// Allocates the lowest chunk that has no memory.
    fn make_chunk(&mut self) {
        let generation = self.first_generation;
        let made = Some(Box::new(Chunk {
            slots: std::array::from_fn(|_| Slot {
                generation,
                content: Content::GivenUp,
            }),
            taken: 0,
        }));
        let mut places = self.chunks.iter_mut().enumerate().skip(self.lowest_empty);
        let found = places.find(|(_, place)| place.is_none());
        let chunk = if let Some((chunk, place)) = found {
            *place = made;
            chunk
        } else {
            self.chunks.push(made);
            self.chunks.len() - 1
        };
        self.lowest_empty = chunk + 1;
        self.made += 1;
        // In reverse, so that the lowest place becomes the head.
        for index in places_of(chunk).rev() {
            self.enter_list(index);
        }
    }

    /// Gives memory back if a chunk is empty.
    ///
    /// One empty chunk stays, so that a caller that inserts and removes at the edge of a chunk does
    /// not allocate each time. That chunk is not the last one of a table with gaps, because the
    /// whole table would stay with it.
    fn give_back(&mut self, chunk: usize) {
        if !self.can_go(chunk) {
            return;
        }
        if self.made * CHUNK - self.len >= 2 * CHUNK {
            let last = self.chunks.len().saturating_sub(1);
            self.drop_chunk(if self.can_go(last) { last } else { chunk });
        }
        while let Some(last) = self.chunks.len().checked_sub(1)
            && last >= self.made
            && self.can_go(last)
        {
            self.drop_chunk(last);
        }
        if self.chunks.len() < self.chunks.capacity() / 8 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// Whether a chunk is empty, and none of its generations must be kept from new chunks.
    fn can_go(&self, chunk: usize) -> bool {
        let Some(Some(chunk)) = self.chunks.get(chunk) else {
            return false;
        };
        chunk.taken == 0 && chunk.most_used().get() <= MOST_PASSED_ON
    }

    fn drop_chunk(&mut self, chunk: usize) {
        let Some(Some(empty)) = self.chunks.get(chunk) else {
            return;
        };
        self.first_generation = self.first_generation.max(empty.most_used());
        for index in places_of(chunk) {
            self.leave_list(index);
        }
        self.chunks[chunk] = None;
        self.made -= 1;
        while self.chunks.pop_if(|last| last.is_none()).is_some() {}
        self.lowest_empty = self.lowest_empty.min(chunk).min(self.chunks.len());
    }
}

impl<T> Chunk<T> {
    fn most_used(&self) -> NonZeroU32 {
        let generations = self.slots.iter().map(|slot| slot.generation);
        generations.max().unwrap_or(NonZeroU32::MIN)
    }
}

/// The indices of a chunk's places.
fn places_of(chunk: usize) -> std::ops::Range<u32> {
    // The casts fit: with MOST_CHUNKS the table is full, and no further chunk is made.
    #[allow(clippy::cast_possible_truncation)]
    let (first, behind) = ((chunk * CHUNK) as u32, ((chunk + 1) * CHUNK) as u32);
    first..behind
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn last_free_places_do_not_keep_a_large_table() {
        for upwards in [true, false] {
            let mut slots = Slots::new();
            let insert = |value| slots.insert(value);
            let mut tokens: Vec<Token> = (0..100 * CHUNK).map(insert).collect();
            let stays = tokens.remove(70 * CHUNK);
            if !upwards {
                tokens.reverse();
            }
            for token in tokens {
                assert!(slots.remove(token).is_some());
            }
            assert!(slots.remove(stays).is_some());
            assert!(slots.chunks.len() <= 1, "{} chunks", slots.chunks.len());
        }
    }

    #[test]
    fn a_place_is_used_again_and_its_old_token_names_nothing() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert("a"), slots.insert("b"));
        assert_eq!(slots.remove(a), Some("a"));
        assert_eq!(slots.remove(a), None);
        let c = slots.insert("c");
        assert_eq!(c.index, a.index);
        assert_eq!(slots.get(a), None);
        assert_eq!(slots.get_mut(a), None);
        assert_eq!((slots.get(b), slots.get(c)), (Some(&"b"), Some(&"c")));
        assert_eq!(slots.tokens().collect::<Vec<_>>(), [c, b]);
        assert_eq!(slots.made, 1);
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_given_up() {
        let mut slots = Slots::new();
        let first = slots.insert(1);
        slots.slot_mut(first.index).expect("a slot").generation = NonZeroU32::MAX;
        let last = Token {
            generation: NonZeroU32::MAX,
            ..first
        };
        assert_eq!(slots.remove(last), Some(1));
        assert!(slots.is_empty());
        let next = slots.insert(2);
        assert_ne!(next.index, first.index);
        assert_eq!(slots.get(last), None);
    }

    #[test]
    fn chunks_that_are_empty_give_their_memory_back_and_their_tokens_never_come_again() {
        let mut slots = Slots::new();
        let mut seen = std::collections::HashSet::new();
        for round in 0..10 {
            let tokens: Vec<Token> = (0..10_000).map(|value| slots.insert(value)).collect();
            for token in &tokens {
                assert!(seen.insert(token.to_bits()), "{token:?} came again");
            }
            // One value that stays, somewhere in the middle.
            let stays = tokens[5000 + round];
            for (value, token) in (0..).zip(&tokens) {
                if *token != stays {
                    assert_eq!(slots.remove(*token), Some(value));
                }
            }
            assert_eq!(slots.tokens().collect::<Vec<_>>(), [stays]);
            assert!(slots.made <= 3, "{} chunks", slots.made);
            assert!(slots.get(stays).is_some());
            assert!(slots.remove(stays).is_some());
            assert!(slots.chunks.capacity() <= 32, "{}", slots.chunks.capacity());
        }
    }

    #[test]
    fn at_the_edge_of_a_chunk_no_memory_comes_and_goes() {
        let mut slots = Slots::new();
        let full: Vec<Token> = (0..CHUNK).map(|value| slots.insert(value)).collect();
        for _ in 0..3 {
            let one_more = slots.insert(0);
            assert_eq!(slots.made, 2);
            slots.remove(one_more);
            assert_eq!(slots.made, 2);
        }
        for token in full {
            slots.remove(token);
        }
        assert_eq!(slots.made, 1);
    }

    #[test]
    fn a_chunk_that_was_used_very_often_is_kept() {
        let mut slots = Slots::new();
        let tokens: Vec<Token> = (0..10 * CHUNK).map(|value| slots.insert(value)).collect();
        let often = Token {
            generation: NonZeroU32::new(MOST_PASSED_ON).expect("not zero"),
            ..tokens[5 * CHUNK]
        };
        slots.slot_mut(often.index).expect("a slot").generation = often.generation;
        for token in tokens {
            slots.remove(if token.index == often.index {
                often
            } else {
                token
            });
        }
        assert!(slots.is_empty());
        assert!(slots.slot(often.index).is_some());
        assert!(slots.first_generation.get() < MOST_PASSED_ON);
    }

    #[test]
    fn bits_carry_the_whole_token() {
        for index in [0, 1, NONE - 1] {
            for generation in [NonZeroU32::MIN, NonZeroU32::MAX] {
                let token = Token { index, generation };
                assert_eq!(Token::from_bits(token.to_bits()), Some(token));
            }
        }
        assert_eq!(Token::from_bits(0), None);
    }
}
