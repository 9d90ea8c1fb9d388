package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// How often another process may take the free device that the kernel has named.
const loopTries = 16

// loopOf is the device of a file; empty for none.
func loopOf(file string) (string, error) {
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, path := range backing {
		text, err := os.ReadFile(path)
		// The name that the file has on the node, which ends like ours.
		if err == nil && strings.HasSuffix(string(bytes.TrimSpace(text)), "/"+filepath.Base(file)) {
			return "/dev/" + strings.Split(path, "/")[3], nil
		}
	}
	return "", nil
}

// attachLoop makes a device of a file, once.
func attachLoop(file string) (string, error) {
	if device, err := loopOf(file); err != nil || device != "" {
		return device, err
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer backing.Close()
	for range loopTries {
		index, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", err
		}
		path := fmt.Sprintf("/dev/loop%d", index)
		device, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		err = unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(backing.Fd()))
		device.Close()
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return "", err
		}
	}
	return "", errors.New("no loop device is free")
}

func onLoop(file string, request uint) error {
	device, err := loopOf(file)
	if err != nil || device == "" {
		return err
	}
	opened, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer opened.Close()
	return unix.IoctlSetInt(int(opened.Fd()), request, 0)
}

// detachLoop takes the device of a file away, where it has one.
func detachLoop(file string) error { return onLoop(file, unix.LOOP_CLR_FD) }

// resizeLoop has the device of a file be as large as the file.
func resizeLoop(file string) error { return onLoop(file, unix.LOOP_SET_CAPACITY) }
