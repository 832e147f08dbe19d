package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/goclip/goclip/torch"
)

// cuda is what there is between goclip and an NVIDIA GPU, from the card up.
type cuda struct {
	Cards    int    `json:"cards"`    // NVIDIA's display controllers on the PCI bus
	Driver   string `json:"driver"`   // version of the kernel's module; "" if it is not loaded
	Nodes    bool   `json:"nodes"`    // /dev/nvidiactl is there, which a container must be given
	Denied   bool   `json:"denied"`   // and this user may not open it
	Hidden   bool   `json:"hidden"`   // CUDA_VISIBLE_DEVICES names no card
	Libtorch bool   `json:"libtorch"` // it knows CUDA
	Devices  int    `json:"devices"`  // that libtorch can use
	Code     int    `json:"code"`     // CUDA's error when it counts them
	Error    string `json:"error,omitempty"`
}

func (c cuda) String() string {
	parts := []string{fmt.Sprintf("%d NVIDIA cards", c.Cards), "no driver", "libtorch without CUDA"}
	if c.Driver != "" {
		parts[1] = "driver " + c.Driver
	}
	if c.Libtorch {
		parts[2] = fmt.Sprintf("libtorch with CUDA, %d devices", c.Devices)
	}
	if c.Error != "" {
		parts = append(parts, c.Error)
	}
	return strings.Join(parts, ", ")
}

// hidesCards reports whether this value of CUDA_VISIBLE_DEVICES names no card: CUDA reads indices up
// to the first that is none.
func hidesCards(visible string) bool {
	first, _, _ := strings.Cut(visible, ",")
	first = strings.TrimSpace(first)
	return first == "" || strings.HasPrefix(first, "-") || first == "NoDevFiles"
}

// lookForCUDA reads what the machine says of cards and driver.
func lookForCUDA(machine fs.FS) (c cuda) {
	devices, _ := fs.Glob(machine, "sys/bus/pci/devices/*/vendor")
	for _, vendor := range devices {
		if word(machine, vendor) == "0x10de" && strings.HasPrefix(word(machine, path.Dir(vendor)+"/class"), "0x03") {
			c.Cards++
		}
	}
	if _, rest, ok := strings.Cut(word(machine, "proc/driver/nvidia/version"), "Kernel Module"); ok {
		for _, f := range strings.Fields(rest) { // "for x86_64  570.86.15  Release Build"
			if strings.Contains(f, ".") {
				c.Driver = f
				break
			}
		}
	}
	node, err := machine.Open("dev/nvidiactl")
	if err == nil {
		node.Close()
	}
	c.Denied = errors.Is(err, fs.ErrPermission)
	c.Nodes = err == nil || c.Denied
	return c
}

// checkDevice finds what --device stands for here, and why.
func (d *diagnosis) checkDevice(machine fs.FS, name string) torch.Device {
	d.CUDA = lookForCUDA(machine)
	visible, set := os.LookupEnv("CUDA_VISIBLE_DEVICES")
	d.CUDA.Hidden = set && hidesCards(visible)
	known, devices, err := torch.CUDA()
	if devices > 0 {
		_, err = torch.ParseDevice("cuda") // which asks for kernels too
	}
	d.CUDA.Libtorch, d.CUDA.Devices = known, devices
	if err != nil {
		d.CUDA.Error = err.Error()
		var failed *torch.CUDAError
		if errors.As(err, &failed) {
			d.CUDA.Code = failed.Code
		}
	}
	device, err := torch.ParseDevice(name)
	if err == nil {
		d.Device = device.String()
	}
	d.explainDevice(name, err)
	return device
}

// explainDevice says why the device is what it is, and what keeps a GPU from being used.
func (d *diagnosis) explainDevice(name string, refused error) {
	c := d.CUDA
	var lack string // of a GPU, and how to fix it
	switch {
	case c.Devices > 0:
		lack = c.Error // without kernels for it
	case !c.Libtorch && c.Cards > 0:
		lack = "there is an NVIDIA card and this libtorch was installed without CUDA: scripts/install_libtorch.sh --cuda"
	case !c.Libtorch:
		lack = "this libtorch was installed without CUDA, and there is no NVIDIA card"
	case c.Error != "" && c.Code == 0:
		lack = "libtorch's part for CUDA cannot be loaded (" + c.Error + "): reinstall it with scripts/install_libtorch.sh --cuda"
	case c.Hidden:
		lack = "CUDA_VISIBLE_DEVICES hides every card: unset it, or set it to 0 for the first"
	case c.Cards == 0:
		lack = "libtorch knows CUDA, and this machine shows no NVIDIA card: choose --device cpu, or give the virtual machine a card"
	case c.Driver == "":
		lack = "there is an NVIDIA card and no driver: install NVIDIA's driver and start its module (nvidia-smi then lists the card)"
	case !c.Nodes || c.Denied:
		lack = "the driver is there and /dev/nvidiactl cannot be opened: join the group that owns it (ls -l /dev/nvidiactl), or start the container with --gpus all"
	case c.Code != 0 && c.Code != 100:
		lack = c.Error
	default:
		lack = "the driver " + c.Driver + " gives libtorch no device: nvidia-smi says whether the card works, and a restart loads a driver that was updated"
	}
	switch {
	case refused != nil:
		d.Why = refused.Error()
		d.wrong("--%v", refused) // it names the device
		if lack != "" {
			d.wrong("no GPU can be used: %s", lack)
		}
	case d.Device != torch.CPU.String():
		d.Why = "libtorch finds it"
	case name == "cpu":
		d.Why = "--device cpu"
	default:
		d.Why = lack
		if c.Libtorch {
			d.wrong("auto takes the CPU although libtorch knows CUDA: %s", lack)
		} else if c.Cards > 0 {
			d.warn("auto takes the CPU: %s", lack)
		}
	}
}
