//go:build cuda

package torch

import _ "github.com/goclip/goclip/csrc/cuda" // the C++ behind csrc/group.h and csrc/graph.h
