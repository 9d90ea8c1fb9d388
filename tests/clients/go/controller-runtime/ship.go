package main

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var shipVersion = schema.GroupVersion{Group: "fleet.knarr.dev", Version: "v1"}

// Ship is the operator's own kind. Its crew is listed in a ConfigMap that it owns.
type Ship struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ShipSpec   `json:"spec,omitempty"`
	Status            ShipStatus `json:"status,omitempty"`
}

type ShipSpec struct {
	Crew int64  `json:"crew"`
	Port string `json:"port,omitempty"`
}

type ShipStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

type ShipList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Ship `json:"items"`
}

func addShips(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(shipVersion, &Ship{}, &ShipList{})
	metav1.AddToGroupVersion(scheme, shipVersion)
	return nil
}

func (s *Ship) DeepCopyObject() runtime.Object { return s.DeepCopy() }

func (s *Ship) DeepCopy() *Ship {
	copied := *s
	s.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	copied.Status.Conditions = append([]metav1.Condition(nil), s.Status.Conditions...)
	return &copied
}

func (l *ShipList) DeepCopyObject() runtime.Object {
	copied := *l
	copied.Items = make([]Ship, 0, len(l.Items))
	for i := range l.Items {
		copied.Items = append(copied.Items, *l.Items[i].DeepCopy())
	}
	return &copied
}

func shipDefinition() *apiextensionsv1.CustomResourceDefinition {
	object := func(properties map[string]apiextensionsv1.JSONSchemaProps, required ...string) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: properties, Required: required}
	}
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	least := 0.0
	number := apiextensionsv1.JSONSchemaProps{Type: "integer", Format: "int64", Minimum: &least}
	condition := object(map[string]apiextensionsv1.JSONSchemaProps{
		"type": text, "status": text, "reason": text, "message": text, "observedGeneration": number,
		"lastTransitionTime": {Type: "string", Format: "date-time"},
	}, "type", "status")
	list := "map"
	conditions := apiextensionsv1.JSONSchemaProps{
		Type: "array", XListType: &list, XListMapKeys: []string{"type"},
		Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &condition},
	}
	schema := object(map[string]apiextensionsv1.JSONSchemaProps{
		"spec":   object(map[string]apiextensionsv1.JSONSchemaProps{"crew": number, "port": text}, "crew"),
		"status": object(map[string]apiextensionsv1.JSONSchemaProps{"observedGeneration": number, "conditions": conditions}),
	})
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "ships." + shipVersion.Group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: shipVersion.Group,
			Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "ships", Singular: "ship", Kind: "Ship", ListKind: "ShipList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: shipVersion.Version, Served: true, Storage: true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &schema},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			}},
		},
	}
}
