/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": the valid name that is nearest to one that is not. */
#pragma once

#include <stddef.h>

/* The nearest of `count` names, or NULL when none is near enough to be meant: Damerau-Levenshtein
 * distance (insert, delete, replace, swap neighbours; case, '-' and '_' do not count) of at most a
 * third of the name's length, at least 1; or else the only name that begins with what was given.
 * The first name is at *first, the next one `stride` bytes further, so that a table of structs
 * serves as well as a list (stride sizeof(char *)). NULL names are skipped; of equally near ones
 * the first wins. [any-thread] */
const char *cwb_nearest(const char *name, const char *const *first, size_t count, size_t stride);
