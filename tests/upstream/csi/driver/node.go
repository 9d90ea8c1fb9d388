package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type node struct {
	csi.UnimplementedNodeServer
	store *store
	name  string
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId: n.name, MaxVolumesPerNode: volumesPerNode,
		AccessibleTopology: &csi.Topology{Segments: map[string]string{topologyKey: n.name}},
	}, nil
}

func (n *node) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	var all []*csi.NodeServiceCapability
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
	} {
		all = append(all, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{
			Rpc: &csi.NodeServiceCapability_RPC{Type: kind},
		}})
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: all}, nil
}

func (n *node) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	found, err := n.store.get(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if found.Node != n.name || r.GetPublishContext()["attached"] != "true" {
		return nil, status.Error(codes.FailedPrecondition, "the volume is not attached to this node")
	}
	if found.Block {
		// The device is made where it is published.
		return &csi.NodeStageVolumeResponse{}, nil
	}
	if err := os.MkdirAll(r.GetStagingTargetPath(), 0o750); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, bind(n.store.data(found.ID), r.GetStagingTargetPath(), false)
}

func (n *node) NodeUnstageVolume(
	_ context.Context, r *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, unmount(r.GetStagingTargetPath())
}

func (n *node) NodePublishVolume(
	_ context.Context, r *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	found, err := n.store.get(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	target := r.GetTargetPath()
	if !found.Block {
		if err := os.MkdirAll(target, 0o750); err != nil {
			return nil, err
		}
		return &csi.NodePublishVolumeResponse{}, bind(r.GetStagingTargetPath(), target, r.GetReadonly())
	}
	device, err := attachLoop(n.store.data(found.ID))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(target, os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, bind(device, target, false)
}

func (n *node) NodeUnpublishVolume(
	_ context.Context, r *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unmount(r.GetTargetPath()); err != nil {
		return nil, err
	}
	if err := os.Remove(r.GetTargetPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found, err := n.store.get(r.GetVolumeId())
	if err == nil && found.Block {
		err = detachLoop(n.store.data(found.ID))
	}
	if err != nil && status.Code(err) != codes.NotFound {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *node) NodeExpandVolume(
	_ context.Context, r *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	found, err := n.store.get(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if found.Block {
		if err := resizeLoop(n.store.data(found.ID)); err != nil {
			return nil, err
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: found.Bytes}, nil
}

func (n *node) NodeGetVolumeStats(
	_ context.Context, r *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	found, err := n.store.get(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if found.Block {
		usage := &csi.VolumeUsage{Unit: csi.VolumeUsage_BYTES, Total: found.Bytes}
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{usage}}, nil
	}
	var room unix.Statfs_t
	if err := unix.Statfs(r.GetVolumePath(), &room); err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	unit := int64(room.Bsize)
	usage := &csi.VolumeUsage{
		Unit: csi.VolumeUsage_BYTES, Total: int64(room.Blocks) * unit, Available: int64(room.Bavail) * unit,
		Used: int64(room.Blocks-room.Bfree) * unit,
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{usage}}, nil
}

// bind mounts source at target, once.
func bind(source, target string, readOnly bool) error {
	same, err := isSame(source, target)
	if err != nil || same {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func isSame(one, other string) (bool, error) {
	first, err := os.Stat(one)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(other)
	if err != nil {
		return false, err
	}
	return os.SameFile(first, second), nil
}

// unmount undoes bind; what is not mounted is no error.
func unmount(target string) error {
	err := unix.Unmount(target, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
