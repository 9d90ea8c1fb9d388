package main

import (
	"context"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	defaultBytes = 1 << 20
	// What the driver says that it has, whatever is free: it reserves nothing.
	roomBytes = 64 << 30
)

type controller struct {
	csi.UnimplementedControllerServer
	store *store
	node  string
}

func (c *controller) topology() []*csi.Topology {
	return []*csi.Topology{{Segments: map[string]string{topologyKey: c.node}}}
}

func size(asked *csi.CapacityRange, before int64) int64 {
	return max(asked.GetRequiredBytes(), before, defaultBytes)
}

func (c *controller) CreateVolume(_ context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if !validID.MatchString(r.GetName()) {
		return nil, status.Error(codes.InvalidArgument, "no usable name")
	}
	if r.GetVolumeContentSource() != nil {
		return nil, status.Error(codes.InvalidArgument, "volumes are not made of others")
	}
	wanted := &volume{ID: r.GetName(), Bytes: size(r.GetCapacityRange(), 0)}
	for _, capability := range r.GetVolumeCapabilities() {
		wanted.Block = wanted.Block || capability.GetBlock() != nil
	}
	if wanted.Bytes > roomBytes {
		return nil, status.Error(codes.OutOfRange, "larger than all there is")
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	found, err := c.store.get(wanted.ID)
	switch {
	case status.Code(err) == codes.NotFound:
		if err := c.store.create(wanted); err != nil {
			return nil, err
		}
		found = wanted
	case err != nil:
		return nil, err
	case found.Block != wanted.Block || found.Bytes < wanted.Bytes:
		return nil, status.Error(codes.AlreadyExists, "there is another volume of this name")
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: found.ID, CapacityBytes: found.Bytes, AccessibleTopology: c.topology(),
	}}, nil
}

func (c *controller) DeleteVolume(_ context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	found, err := c.store.get(r.GetVolumeId())
	switch {
	case status.Code(err) == codes.NotFound:
		return &csi.DeleteVolumeResponse{}, nil
	case err != nil:
		return nil, err
	case found.Node != "":
		return nil, status.Error(codes.FailedPrecondition, "the volume is attached to "+found.Node)
	}
	return &csi.DeleteVolumeResponse{}, c.store.remove(found.ID)
}

func (c *controller) ControllerPublishVolume(
	_ context.Context, r *csi.ControllerPublishVolumeRequest,
) (*csi.ControllerPublishVolumeResponse, error) {
	_, err := c.store.change(r.GetVolumeId(), func(v *volume) error {
		if v.Node != "" && v.Node != r.GetNodeId() {
			return status.Error(codes.FailedPrecondition, "the volume is attached to "+v.Node)
		}
		v.Node = r.GetNodeId()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &csi.ControllerPublishVolumeResponse{PublishContext: map[string]string{"attached": "true"}}, nil
}

func (c *controller) ControllerUnpublishVolume(
	_ context.Context, r *csi.ControllerUnpublishVolumeRequest,
) (*csi.ControllerUnpublishVolumeResponse, error) {
	_, err := c.store.change(r.GetVolumeId(), func(v *volume) error {
		if r.GetNodeId() == "" || v.Node == r.GetNodeId() {
			v.Node = ""
		}
		return nil
	})
	if err != nil && status.Code(err) != codes.NotFound {
		return nil, err
	}
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

func (c *controller) ControllerExpandVolume(
	_ context.Context, r *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	grown, err := c.store.change(r.GetVolumeId(), func(v *volume) error {
		v.Bytes = size(r.GetCapacityRange(), v.Bytes)
		if v.Bytes > roomBytes {
			return status.Error(codes.OutOfRange, "larger than all there is")
		}
		if v.Block {
			return os.Truncate(c.store.data(v.ID), v.Bytes)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: grown.Bytes, NodeExpansionRequired: true}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	_ context.Context, r *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if _, err := c.store.get(r.GetVolumeId()); err != nil {
		return nil, err
	}
	return &csi.ValidateVolumeCapabilitiesResponse{
		Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: r.GetVolumeCapabilities()},
	}, nil
}

func (c *controller) GetCapacity(_ context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	place := r.GetAccessibleTopology().GetSegments()
	if name, ok := place[topologyKey]; ok && name != c.node {
		return &csi.GetCapacityResponse{}, nil
	}
	return &csi.GetCapacityResponse{AvailableCapacity: roomBytes}, nil
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	var all []*csi.ControllerServiceCapability
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
	} {
		all = append(all, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{
			Rpc: &csi.ControllerServiceCapability_RPC{Type: kind},
		}})
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: all}, nil
}
