// Stand-in for gloo's header, see README.md: c10d's declarations need nothing of it.
#pragma once
