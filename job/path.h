/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Paths as text: nothing here looks at the file system. */
#pragma once

/* path made absolute against directory (itself absolute), with "//", "." and ".." taken away
 * lexically and without a
 * '/' at its end; ".." above the root stays at the root. Freed with free(); NULL when memory ran
 * out. */
char *cwj_path_resolve(const char *directory, const char *path);
