/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers that a seed repeats: xorshift64* (Vigna, "An experimental
 * exploration of Marsaglia's xorshift generators").  Header only.
 */
#ifndef TESTS_PRNG_H
#define TESTS_PRNG_H

/* @state is not 0. */
static inline uint32_t prng_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * UINT64_C(2685821657736338717)) >> 32;
}

/* From 0 to @n - 1. */
static inline unsigned prng_below(uint64_t *state, unsigned n)
{
    return (uint64_t)prng_next(state) * n >> 32;
}

#endif
