package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"knarr.dev/tests/clients/go/step"
)

const (
	webhookPort  = 9443
	webhookLabel = "fleet.knarr.dev/admit"
)

func isInvalid(err error) bool { return apierrors.IsInvalid(err) }

// inspector is both webhooks, for config maps.
type inspector struct{}

func (inspector) Default(_ context.Context, object *corev1.ConfigMap) error {
	if object.Data["port"] == "" {
		object.Data["port"] = "Bergen"
	}
	return nil
}

func (inspector) ValidateCreate(_ context.Context, object *corev1.ConfigMap) (admission.Warnings, error) {
	if object.Data["crew"] == "none" {
		return nil, errors.New("a ship needs a crew")
	}
	return admission.Warnings{"mind the reefs"}, nil
}

func (i inspector) ValidateUpdate(ctx context.Context, _, object *corev1.ConfigMap) (admission.Warnings, error) {
	return i.ValidateCreate(ctx, object)
}

func (inspector) ValidateDelete(context.Context, *corev1.ConfigMap) (admission.Warnings, error) {
	return nil, nil
}

func (o *operator) webhookSteps() []step.Step {
	return []step.Step{
		{Name: "webhook-server", Run: o.serveWebhooks},
		{Name: "webhook-defaults", Run: func(ctx context.Context) error {
			object := admitted("defaulted", "some")
			if err := o.user.Create(ctx, object); err != nil {
				return err
			}
			return step.Want("the port", object.Data["port"], "Bergen")
		}},
		{Name: "webhook-refuses", Run: func(ctx context.Context) error {
			err := o.user.Create(ctx, admitted("refused", "none"))
			if err == nil || !strings.Contains(err.Error(), "a ship needs a crew") {
				return fmt.Errorf("it is not refused by the webhook: %v", err)
			}
			return nil
		}},
	}
}

func admitted(name, crew string) *corev1.ConfigMap {
	labels := map[string]string{webhookLabel: ""}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Data:       map[string]string{"crew": crew},
	}
}

// serveWebhooks starts the server, registers it, and waits until it is asked.
func (o *operator) serveWebhooks(ctx context.Context) error {
	address, err := o.address()
	if err != nil {
		return err
	}
	dir := filepath.Join(os.Getenv("CLIENT_DIR"), "certificates")
	bundle, err := certificate(dir, address)
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(o.config, ctrl.Options{
		Scheme: o.scheme, Metrics: server.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Port: webhookPort, CertDir: dir}),
	})
	if err != nil {
		return err
	}
	err = ctrl.NewWebhookManagedBy(manager, &corev1.ConfigMap{}).
		WithDefaulter(inspector{}).WithValidator(inspector{}).Complete()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(context.Background()) }()
	base := fmt.Sprintf("https://%s", net.JoinHostPort(address.String(), fmt.Sprint(webhookPort)))
	if err := o.register(ctx, base, bundle); err != nil {
		return err
	}
	return step.Eventually(ctx, func(ctx context.Context) error {
		select {
		case err := <-ended:
			return fmt.Errorf("the manager has ended: %w", err)
		default:
		}
		object := admitted("probe", "some")
		object.GenerateName, object.Name = "probe-", ""
		if err := o.user.Create(ctx, object); err != nil {
			return err
		}
		return step.Want("the port", object.Data["port"], "Bergen")
	})
}

func (o *operator) register(ctx context.Context, base string, bundle []byte) error {
	selector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: webhookLabel, Operator: metav1.LabelSelectorOpExists},
	}}
	rules := []admissionregistrationv1.RuleWithOperations{{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"},
		},
	}}
	none := admissionregistrationv1.SideEffectClassNone
	at := func(path string) admissionregistrationv1.WebhookClientConfig {
		url := base + path
		return admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: bundle}
	}
	named := metav1.ObjectMeta{Name: "fleet.knarr.dev"}
	return errors.Join(
		o.user.Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: named,
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name: "default.fleet.knarr.dev", ClientConfig: at("/mutate--v1-configmap"), Rules: rules,
				ObjectSelector: selector, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			}},
		}),
		o.user.Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: named,
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "validate.fleet.knarr.dev", ClientConfig: at("/validate--v1-configmap"), Rules: rules,
				ObjectSelector: selector, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			}},
		}),
	)
}

// address is that of this program as the API server sees it.
func (o *operator) address() (net.IP, error) {
	server, err := url.Parse(o.config.Host)
	if err != nil {
		return nil, err
	}
	// No packet is sent.
	connection, err := net.Dial("udp", server.Host)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return connection.LocalAddr().(*net.UDPAddr).IP, nil
}

// certificate makes a certificate of its own for the server; what the API server is to trust.
func certificate(dir string, address net.IP) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fleet"}, IPAddresses: []net.IP{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	var private bytes.Buffer
	if err := pem.Encode(&private, &pem.Block{Type: "PRIVATE KEY", Bytes: encoded}); err != nil {
		return nil, err
	}
	return bundle, errors.Join(
		os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "tls.crt"), bundle, 0o600),
		os.WriteFile(filepath.Join(dir, "tls.key"), private.Bytes(), 0o600),
	)
}
