// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Operations on single elements.
#include "plugins/backends/cuda/launch.h"
