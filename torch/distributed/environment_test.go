package distributed

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/goclip/goclip/torch"
)

func TestFromEnvironment(t *testing.T) {
	torchrun := map[string]string{"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
	slurm := map[string]string{"SLURM_PROCID": "5", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "node[003-006,009],gpu1"}
	for _, c := range []struct {
		name string
		base map[string]string
		set  map[string]string // "" removes
		want World
		err  string
	}{
		{name: "nothing", want: World{Size: 1, LocalSize: 1}},
		{name: "torchrun", base: torchrun, want: World{Rank: 3, Size: 8, LocalRank: 1, LocalSize: 2, MasterAddr: "node1", MasterPort: 29500}},
		{name: "torchrun's store", base: torchrun, set: map[string]string{"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"},
			want: World{Rank: 3, Size: 8, LocalRank: 1, LocalSize: 2, MasterAddr: "node1", MasterPort: 29500, LauncherStore: true, Restart: 2}},
		{name: "torchrun before Slurm", base: torchrun, set: slurm, want: World{Rank: 3, Size: 8, LocalRank: 1, LocalSize: 2, MasterAddr: "node1", MasterPort: 29500}},
		{name: "one", set: map[string]string{"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, want: World{Size: 1, LocalSize: 1}},
		{name: "slurm", base: slurm, want: World{Rank: 5, Size: 16, LocalRank: 1, LocalSize: 1, MasterAddr: "node003", MasterPort: 18456}},
		{name: "slurm, two racks", base: slurm, set: map[string]string{"SLURM_JOB_NODELIST": "a7-b,c[1-2]", "MASTER_PORT": "7"},
			want: World{Rank: 5, Size: 16, LocalRank: 1, LocalSize: 1, MasterAddr: "a7-b", MasterPort: 7}},
		{name: "slurm, a suffix", base: slurm, set: map[string]string{"SLURM_JOB_NODELIST": "n[12,14].local,m"}, want: World{Rank: 5, Size: 16, LocalRank: 1, LocalSize: 1, MasterAddr: "n12.local", MasterPort: 18456}},
		{name: "slurm's shell", base: slurm, set: map[string]string{"SLURM_NTASKS": "1"}, want: World{Size: 1, LocalSize: 1}},
		{name: "no rank", base: torchrun, set: map[string]string{"RANK": ""}, err: "of the variables, RANK is missing: start"},
		{name: "no size", base: torchrun, set: map[string]string{"WORLD_SIZE": ""}, err: "of the variables, WORLD_SIZE is missing: start"},
		{name: "no local rank", base: torchrun, set: map[string]string{"LOCAL_RANK": ""}, err: "of the variables, LOCAL_RANK is missing: start"},
		{name: "no address", base: torchrun, set: map[string]string{"MASTER_ADDR": ""}, err: "of the variables, MASTER_ADDR is missing: start"},
		{name: "no port", base: torchrun, set: map[string]string{"MASTER_PORT": ""}, err: "of the variables, MASTER_PORT is missing: start"},
		{name: "two faults", base: torchrun, set: map[string]string{"MASTER_PORT": "", "LOCAL_RANK": "x"}, err: `the variable LOCAL_RANK is "x", which is not a number`},
		{name: "nothing but a rank", set: map[string]string{"RANK": "1"}, err: "of the variables, WORLD_SIZE, LOCAL_RANK are missing: start"},
		{name: "port", base: torchrun, set: map[string]string{"MASTER_PORT": "0"}, err: "the port 0 (MASTER_PORT): must be between 1 and 65535"},
		{name: "rank", base: torchrun, set: map[string]string{"RANK": "8"}, err: "the rank 8 (RANK, SLURM_PROCID) is not one of 8 processes: 0 to 7 are"},
		{name: "size", base: torchrun, set: map[string]string{"WORLD_SIZE": "0"}, err: "a world of 0 processes"},
		{name: "local size", base: torchrun, set: map[string]string{"LOCAL_WORLD_SIZE": "9"}, err: "LOCAL_WORLD_SIZE is 9: must be between 1 and WORLD_SIZE, which is 8"},
		{name: "no local id", base: slurm, set: map[string]string{"SLURM_LOCALID": ""}, err: "of the variables, SLURM_LOCALID is missing"},
		{name: "no nodes", base: slurm, set: map[string]string{"SLURM_JOB_NODELIST": ""}, err: "the variable MASTER_ADDR is missing, and there is no SLURM_JOB_NODELIST"},
		{name: "odd nodes", base: slurm, set: map[string]string{"SLURM_JOB_NODELIST": "node[1"}, err: `SLURM_JOB_NODELIST is "node[1", which is not a list of hosts`},
	} {
		t.Run(c.name, func(t *testing.T) {
			getenv := func(name string) string {
				if value, ok := c.set[name]; ok {
					return value
				}
				return c.base[name]
			}
			w, err := fromEnvironment(getenv, true)
			if strings.Contains(c.err, "MASTER") {
				_, err := fromEnvironment(getenv, false)
				require.NoError(t, err, "where none is needed")
			}
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, w)
		})
	}
}

func TestDevice(t *testing.T) {
	cuda := torch.Device{Type: "cuda"}
	for _, c := range []struct {
		name  string
		found torch.Device
		world World
		want  string
		err   string
	}{
		{"auto", torch.CPU, World{Size: 2, LocalRank: 1, LocalSize: 2}, "auto", ""},
		{"cpu", torch.CPU, World{Size: 2, LocalRank: 1, LocalSize: 2}, "cpu", ""},
		{"auto", cuda, World{Size: 2, LocalRank: 1, LocalSize: 2}, "cuda:1", ""},
		{"cuda", cuda, World{Size: 16, Rank: 11, LocalRank: 3, LocalSize: 8}, "cuda:3", ""},
		{"cuda", cuda, World{Size: 2, Rank: 1, LocalSize: 1}, "cuda:0", ""}, // the second host's only process
		{"cuda:1", torch.Device{Type: "cuda", Index: 1}, World{Size: 2, LocalSize: 1}, "cuda:1", ""},
		{"cuda:1", torch.Device{Type: "cuda", Index: 1}, World{Size: 2, LocalSize: 2}, "",
			"cuda:1 is one device, and this host has 2 processes, each of which needs its own; cuda gives process N device N"},
	} {
		got, err := c.world.Device(c.name, c.found)
		if c.err != "" {
			assert.EqualError(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%s of %+v", c.name, c.world)
	}
}
